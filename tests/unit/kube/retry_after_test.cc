// Retry-After: a server that is busy is asked again when it said, over the wire and by every kind of call.
#include <gtest/gtest.h>

#include "lib/kube/cache.h"
#include "lib/kube/reflector.h"
#include "lib/kube/rest_client.h"
#include "tests/unit/kube/local_server.h"

namespace patella::kube {
namespace {

using std::chrono::milliseconds;
using std::chrono::seconds;

http::Response Busy(int status, const std::string& retry_after) {
  http::Response response{.status = status, .headers = {}, .body = "busy"};
  if (!retry_after.empty()) response.headers.Set("Retry-After", retry_after);
  return response;
}

http::Response Json(const std::string& body) {
  return {.status = 200, .headers = {{"Content-Type", "application/json"}}, .body = body};
}

constexpr char kMap[] =
    R"({"kind":"ConfigMap","apiVersion":"v1","metadata":{"name":"a","namespace":"n","resourceVersion":"1"}})";

class RetryAfterTest : public testing::Test {
 protected:
  void Connect(LocalServer::Answer answer) {
    server_ = std::make_unique<LocalServer>(std::move(answer));
    const auto credentials = *Credentials::Load(server_->access(), clock_);
    transport_ = *MakeTransport(credentials);
    client_ = std::make_unique<RestClient>(transport_.get(), credentials, clock_);
  }
  ~RetryAfterTest() override {
    client_.reset();
    transport_.reset();
  }

  const SteadyClock clock_;
  std::unique_ptr<LocalServer> server_;
  std::unique_ptr<HttpTransport> transport_;
  std::unique_ptr<RestClient> client_;
};

TEST_F(RetryAfterTest, ABusyServerIsAskedAgainWhenItSaidAndNotBefore) {
  Connect([](const LocalServer::Asked&, size_t before) {
    return before % 2 == 0 ? Busy(before == 0 ? 429 : 503, "1") : Json(kMap);
  });
  const auto read = client_->Get(kConfigMaps, "n", "a");
  ASSERT_TRUE(read.ok()) << read.status();
  const auto written = client_->Create(kConfigMaps, "n", kMap);
  ASSERT_TRUE(written.ok()) << written.status();
  const auto asked = server_->asked();
  ASSERT_EQ(asked.size(), 4u);
  EXPECT_GE(Seconds(asked[1].at - asked[0].at), 1);
  EXPECT_EQ(asked[2].method, "POST");
  EXPECT_GE(Seconds(asked[3].at - asked[2].at), 1);
}

TEST_F(RetryAfterTest, WithoutItTheCallerIsTold) {
  Connect([](const LocalServer::Asked&, size_t) { return Busy(429, ""); });
  EXPECT_TRUE(IsTooManyRequests(client_->Get(kConfigMaps, "n", "a").status()));
  EXPECT_EQ(server_->asked().size(), 1u);
}

TEST_F(RetryAfterTest, AServerThatIsAlwaysBusyIsAskedElevenTimes) {
  Connect([](const LocalServer::Asked&, size_t) { return Busy(429, "0"); });
  EXPECT_TRUE(IsTooManyRequests(client_->Get(kConfigMaps, "n", "a").status()));
  EXPECT_EQ(server_->asked().size(), 11u);
}

TEST_F(RetryAfterTest, AWaitBeyondTheCallsTimeIsNotBegunAndTheCallerIsToldHowLong) {
  Connect([](const LocalServer::Asked&, size_t) { return Busy(429, "600"); });
  const absl::Status status = client_->Get(kConfigMaps, "n", "a").status();
  EXPECT_TRUE(IsTooManyRequests(status)) << status;
  EXPECT_EQ(RetryAfter(status), Duration(seconds(600)));
  EXPECT_EQ(server_->asked().size(), 1u);
}

TEST_F(RetryAfterTest, ClosingTheClientEndsTheWait) {
  Connect([](const LocalServer::Asked&, size_t) { return Busy(429, "60"); });
  std::thread closer([&] {
    for (int i = 0; i < 2000 && server_->asked().empty(); ++i) std::this_thread::sleep_for(milliseconds(5));
    client_->Close();
  });
  EXPECT_TRUE(absl::IsCancelled(client_->Get(kConfigMaps, "n", "a").status()));
  closer.join();
  EXPECT_EQ(server_->asked().size(), 1u);
}

TEST_F(RetryAfterTest, AWatchThatIsRefusedWaitsAsLongAsTheServerAsks) {
  Connect([](const LocalServer::Asked& asked, size_t) {
    if (asked.target.find("watch=") != std::string::npos) return Busy(429, "1");
    return Json(R"({"kind":"ConfigMapList","apiVersion":"v1","metadata":{"resourceVersion":"5"},"items":[]})");
  });
  Cache cache(kConfigMaps);
  ReflectorOptions options{.namespace_name = "n", .watch_list = false, .seed = 1};
  options.backoff = {.initial = milliseconds(1), .cap = milliseconds(1)};
  Reflector reflector(client_.get(), &cache, options, clock_);
  reflector.Start();
  for (int i = 0; i < 4000 && server_->asked().size() < 3; ++i) std::this_thread::sleep_for(milliseconds(5));
  reflector.Stop();
  const auto asked = server_->asked();  // a list, a watch, a watch
  ASSERT_GE(asked.size(), 3u);
  EXPECT_EQ(asked[0].target.find("watch="), std::string::npos);
  EXPECT_NE(asked[2].target.find("watch="), std::string::npos) << "nothing was lost: no list anew";
  EXPECT_GE(Seconds(asked[2].at - asked[1].at), 1);
}

}  // namespace
}  // namespace patella::kube
