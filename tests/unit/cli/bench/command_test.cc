// The commands as a user calls them, against a made-up engine on another thread.
#include <fstream>
#include <thread>

#include "gtest/gtest.h"
#include "tests/unit/cli/run_command.h"
#include "tests/unit/loadgen/fake_engine.h"

namespace patella::cli {
namespace {

class EngineThread {
 public:
  explicit EngineThread(loadgen::FakeEngine::Options options) : engine_(loop_, options), port_(engine_.target().port) {
    thread_ = std::thread([this] { loop_.Run(); });
  }
  ~EngineThread() {
    loop_.Stop();
    thread_.join();
  }
  std::string url() const { return "http://127.0.0.1:" + std::to_string(port_); }

 private:
  http::Loop loop_;
  loadgen::FakeEngine engine_;
  int port_;
  std::thread thread_;
};

Ran Patella(std::vector<std::string> arguments) { return RunCommand({AddBench, AddTune}, std::move(arguments)); }

TEST(BenchCommandTest, PrintsATableAndWritesAReport) {
  EngineThread engine({});
  const std::string html = testing::TempDir() + "/bench_report.html";
  const Ran ran = Patella({"bench", engine.url(), "--concurrency", "1,2,4", "--output-tokens", "8", "--html", html});
  EXPECT_EQ(ran.code, kOk) << ran.err;
  EXPECT_NE(ran.out.find("at once"), std::string::npos) << ran.out;
  std::ifstream file(html);
  const std::string page((std::istreambuf_iterator<char>(file)), {});
  EXPECT_NE(page.find("<svg"), std::string::npos);
  std::remove(html.c_str());
}

TEST(BenchCommandTest, RefusedConnectionIsOneSentenceAndItsOwnCode) {
  const Ran ran = Patella({"bench", "http://127.0.0.1:1", "--concurrency", "1"});
  EXPECT_EQ(ran.code, kUnreachable);
  EXPECT_NE(ran.err.find("nobody answers at http://127.0.0.1:1"), std::string::npos) << ran.err;
  EXPECT_EQ(std::count(ran.err.begin(), ran.err.end(), '\n'), 1) << ran.err;
}

TEST(BenchCommandTest, WrongUsageIsCodeTwo) {
  EXPECT_EQ(Patella({"bench"}).code, kUsage);
  EXPECT_EQ(Patella({"bench", "ftp://x"}).code, kUsage);
  EXPECT_EQ(Patella({"bench", "http://127.0.0.1:1", "--target", "tpot:fast"}).code, kUsage);
  EXPECT_EQ(Patella({"bench", "http://127.0.0.1:1", "--concurrency", "0"}).code, kUsage);
}

TEST(BenchCommandTest, AnEngineThatDiesIsReported) {
  EngineThread engine({.dies_after_requests = 4});
  const Ran ran =
      Patella({"bench", engine.url(), "--concurrency", "2", "--output-tokens", "4", "--requests-per-level", "1000"});
  EXPECT_EQ(ran.code, kUnreachable) << ran.err;
  EXPECT_NE(ran.err.find("went away"), std::string::npos) << ran.err;
}

// A count that did not follow the prompt would let the load generator's prompts grow without end: a token a word here.
TEST(TuneCommandTest, AnImpossibleTargetIsSaidAfterOneLevel) {
  EngineThread engine({.step = std::chrono::milliseconds(5), .prompt_tokens = 0});
  const Ran ran = Patella({"tune", engine.url(), "--target", "tpot:p50:0.5ms", "--output-tokens", "6"});
  EXPECT_EQ(ran.code, kTargetImpossible) << ran.err;
  EXPECT_NE(ran.err.find("cannot be met"), std::string::npos) << ran.err;
  EXPECT_NE(ran.err.find("the nearest target that can is"), std::string::npos) << ran.err;
}

TEST(TuneCommandTest, FindsALimitAndSaysWhatItSpent) {
  EngineThread engine({.prompt_tokens = 0});
  Ran ran{.code = kTooNoisy};  // this runs in real time: other tests may be in its way
  for (int i = 0; i < 5 && ran.code == kTooNoisy; ++i) {
    ran = Patella({"tune", engine.url(), "--target", "tpot:p90:10s", "--output-tokens", "4", "--max-concurrency", "4",
                   "--output", "json"});
  }
  EXPECT_EQ(ran.code, kOk) << ran.err;
  EXPECT_NE(ran.out.find("\"tokens spent\""), std::string::npos) << ran.out;
  EXPECT_EQ(ran.out.find("\"limit\": null"), std::string::npos) << ran.out;
}

}  // namespace
}  // namespace patella::cli
