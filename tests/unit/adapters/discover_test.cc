#include "lib/adapters/discover.h"

#include <map>
#include <thread>

#include "gtest/gtest.h"
#include "lib/http/server.h"

namespace patella::adapters {
namespace {

using Pages = std::map<std::string, std::string>;

// A server that answers GETs from a table and 404 otherwise, on a thread of its own.
class TableServer {
 public:
  explicit TableServer(Pages pages) : pages_(std::move(pages)) {
    server_ = http::Server::Listen(loop_, {}, [this](http::Request request, std::shared_ptr<http::Exchange> exchange) {
                const auto page = pages_.find(std::string(request.path()));
                exchange->Send(
                    {.status = page == pages_.end() ? 404 : 200, .body = page == pages_.end() ? "" : page->second});
              }).value();
    port_ = server_->port();
    thread_ = std::thread([this] { loop_.Run(); });
  }
  ~TableServer() {
    loop_.Stop();
    thread_.join();
  }
  std::string url() const { return "http://127.0.0.1:" + std::to_string(port_); }

 private:
  const Pages pages_;
  http::Loop loop_;
  std::unique_ptr<http::Server> server_;
  int port_ = 0;
  std::thread thread_;
};

TEST(DetectTest, TgiIsKnownByItsInfo) {
  TableServer server(Pages{
      {"/info",
       R"({"model_id":"big","version":"3.0","max_concurrent_requests":64,"max_batch_total_tokens":9000,"max_total_tokens":4096})"}});
  const Discovery found = Detect(server.url()).value();
  EXPECT_EQ(found.target.kind, EngineKind::kTgi);
  EXPECT_EQ(found.target.model, "big");
  EXPECT_EQ(found.kv_capacity_tokens, 9000);
  EXPECT_EQ(found.max_concurrent_requests, 64);
  EXPECT_EQ(found.max_total_tokens, 4096);
}

TEST(DetectTest, VllmIsKnownByItsSignatureAndTellsItsKvCapacity) {
  TableServer server(
      Pages{{"/v1/models", R"({"data":[{"id":"llama","owned_by":"vllm"}]})"},
            {"/metrics", "# HELP x\nvllm:cache_config_info{block_size=\"16\",num_gpu_blocks=\"100\"} 1.0\n"}});
  const Discovery found = Detect(server.url() + "/v1").value();
  EXPECT_EQ(found.target.kind, EngineKind::kVllm);
  EXPECT_EQ(found.target.model, "llama");
  EXPECT_EQ(found.target.path_prefix, "");
  EXPECT_EQ(found.kv_capacity_tokens, 1600);
}

TEST(DetectTest, PatellaIsKnownThoughItSpeaksBothDialects) {
  TableServer server(Pages{{"/info", R"({"model_id":"smol","version":"0.1.0"})"},
                           {"/v1/models", R"({"data":[{"id":"smol","owned_by":"patella"}]})"}});
  EXPECT_EQ(Detect(server.url()).value().target.kind, EngineKind::kPatella);
}

TEST(DetectTest, AnythingElseWithModelsIsOpenAi) {
  TableServer server(Pages{{"/v1/models", R"({"data":[{"id":"x","owned_by":"llamacpp"}]})"}});
  EXPECT_EQ(Detect(server.url()).value().target.kind, EngineKind::kOpenAi);
}

TEST(DetectTest, AWebServerIsNotAnEngine) {
  TableServer server(Pages{{"/", "hello"}});
  const absl::Status status = Detect(server.url()).status();
  EXPECT_TRUE(absl::IsFailedPrecondition(status)) << status;
}

TEST(DetectTest, NobodyThereSaysWhereItLooked) {
  int port = 0;
  {
    http::Loop loop;
    port = http::Server::Listen(loop, {}, [](http::Request, std::shared_ptr<http::Exchange>) {}).value()->port();
  }
  const absl::Status status = Detect("http://127.0.0.1:" + std::to_string(port)).status();
  EXPECT_TRUE(absl::IsUnavailable(status)) << status;
  EXPECT_NE(std::string(status.message()).find(std::to_string(port)), std::string::npos);
}

TEST(DetectTest, OnlyHttpUrlsAreUnderstood) { EXPECT_TRUE(absl::IsInvalidArgument(Detect("ftp://x").status())); }

}  // namespace
}  // namespace patella::adapters
