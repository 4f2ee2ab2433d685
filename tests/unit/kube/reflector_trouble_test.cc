// What a reflector tells in the log of lists and watches that fail: each kind of trouble once, and that it is over once it is.
#include <gtest/gtest.h>

#include "lib/base/logging.h"
#include "lib/kube/cache.h"
#include "lib/kube/memory_client.h"
#include "lib/kube/reflector.h"

namespace patella::kube {
namespace {

using std::chrono::minutes;

absl::Status Answer(int code, const std::string& verb) {
  const char* reason = code == 403 ? "Forbidden" : code == 410 ? "Expired" : "ServiceUnavailable";
  return ToStatus(ApiError{code, reason, "words", {}, {}}, {.verb = verb});
}

class ReflectorTroubleTest : public testing::Test {
 protected:
  void SetUp() override {
    ASSERT_TRUE(SetLogLevel("info").ok());
    ASSERT_TRUE(store_.Create(kConfigMaps, "n", R"({"metadata":{"name":"a"}})").ok());
    store_.SetHook([this](const MemoryClient::CallInfo& call) {
      if (call.verb == "list") return list_;
      return call.verb == "watch" ? watch_ : absl::OkStatus();
    });
  }

  // The log of so long.
  std::string For(Duration time) {
    testing::internal::CaptureStderr();
    for (const TimePoint until = clock_.Now() + time; clock_.Now() < until;) {
      const std::optional<Duration> pause = reflector_.Step();
      if (pause != Duration::zero()) clock_.Advance(pause.value_or(std::chrono::seconds(1)));
    }
    return testing::internal::GetCapturedStderr();
  }
  static size_t Count(const std::string& log, const std::string& what) {
    size_t count = 0;
    for (size_t at = log.find(what); at != std::string::npos; at = log.find(what, at + 1)) ++count;
    return count;
  }

  MemoryClient store_;
  ManualClock clock_;
  Cache cache_{kConfigMaps};
  Reflector reflector_{&store_, &cache_, {.namespace_name = "n", .seed = 1}, clock_};
  absl::Status list_, watch_;
};

TEST_F(ReflectorTroubleTest, AWatchThatIsRefusedBesideAListThatWorksIsToldOnce) {
  watch_ = Answer(403, "watch");
  const std::string log = For(minutes(10));
  EXPECT_EQ(Count(log, "watch failed"), 1u) << log;
  EXPECT_EQ(Count(log, "up to date again"), 0u) << log;
  EXPECT_EQ(cache_.size(), 1u) << "lists go on";
  EXPECT_TRUE(IsForbidden(reflector_.Stats().last_error));

  watch_ = absl::OkStatus();
  const std::string after = For(minutes(10));
  EXPECT_EQ(Count(after, "up to date again"), 1u) << after;
  EXPECT_EQ(Count(after, "failed"), 0u) << after;
  EXPECT_TRUE(reflector_.Stats().last_error.ok());
}

TEST_F(ReflectorTroubleTest, AServerThatIsAwayIsToldOnceAndThatItIsBackOnce) {
  For(minutes(1));
  list_ = watch_ = Answer(503, "list");
  store_.EndWatches(Answer(503, "watch"));
  const std::string log = For(minutes(10));
  EXPECT_EQ(Count(log, "failed"), 1u) << log;
  EXPECT_GT(reflector_.Stats().failures, 10u);

  list_ = watch_ = absl::OkStatus();
  ASSERT_TRUE(store_.Create(kConfigMaps, "n", R"({"metadata":{"name":"b"}})").ok());
  const std::string after = For(minutes(1));
  EXPECT_EQ(Count(after, "up to date again"), 1u) << after;
  EXPECT_TRUE(reflector_.Stats().last_error.ok());
}

TEST_F(ReflectorTroubleTest, AListThatFailsWhileWatchesAreRefusedIsToldToo) {
  watch_ = Answer(403, "watch");
  For(minutes(2));
  list_ = Answer(503, "list");
  const std::string log = For(minutes(5));
  EXPECT_EQ(Count(log, "list failed"), 1u) << log;
  list_ = absl::OkStatus();
  const std::string after = For(minutes(5));
  EXPECT_EQ(Count(after, "up to date again") + Count(after, "failed"), 0u) << after << "watches are refused as before";
  EXPECT_TRUE(IsForbidden(reflector_.Stats().last_error));
}

TEST_F(ReflectorTroubleTest, AVersionThatIsForgottenIsNoTroubleOnceAListWorked) {
  Reflector lists(&store_, &cache_, {.namespace_name = "n", .watch_list = false, .seed = 1}, clock_);
  const auto turn = [&] {
    while (lists.Step() == Duration::zero()) {
    }
  };
  turn();
  testing::internal::CaptureStderr();
  store_.EndWatches(Answer(410, "watch"));
  turn();
  const std::string log = testing::internal::GetCapturedStderr();
  EXPECT_EQ(lists.Stats().lists, 2u);
  EXPECT_TRUE(lists.Stats().last_error.ok()) << lists.Stats().last_error;
  EXPECT_EQ(Count(log, "watch failed"), 1u) << log;
  EXPECT_EQ(Count(log, "up to date again"), 1u) << log;
}

}  // namespace
}  // namespace patella::kube
