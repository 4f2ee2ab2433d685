// A REST client that is closed: what waits for an API server that does not answer ends, and nothing begins any more.
#include <gtest/gtest.h>

#include <thread>

#include "lib/kube/rest_client.h"
#include "tests/unit/kube/local_server.h"
#include "tests/unit/kube/until.h"

namespace patella::kube {
namespace {

constexpr char kMap[] = R"({"kind":"ConfigMap","apiVersion":"v1","metadata":{"name":"a","namespace":"n"}})";
constexpr auto kPatience = std::chrono::seconds(20);

TEST(CloseTest, ACallThatIsNeverAnsweredEndsWithTheClient) {
  std::vector<std::shared_ptr<http::Exchange>> unanswered;  // the server's thread's
  LocalServer server(
      LocalServer::Serve([&](const LocalServer::Asked&, size_t, std::shared_ptr<http::Exchange> exchange) {
        unanswered.push_back(std::move(exchange));
      }));
  const SteadyClock clock;
  const auto credentials = *Credentials::Load(server.access(), clock);
  const auto transport = *MakeTransport(credentials);
  RestClient client(transport.get(), credentials, clock,
                    {.call_timeout = std::chrono::hours(1), .total_timeout = std::chrono::hours(1)});
  absl::Status read, written;
  std::thread reader([&] { read = client.Get(kConfigMaps, "n", "a").status(); });
  std::thread writer([&] { written = client.Create(kConfigMaps, "n", kMap).status(); });
  EXPECT_TRUE(Until([&] { return server.asked().size() == 2; }, kPatience));
  client.Close();
  reader.join();
  writer.join();
  EXPECT_TRUE(absl::IsCancelled(read)) << read;
  EXPECT_TRUE(absl::IsCancelled(written)) << written;
  EXPECT_TRUE(absl::IsCancelled(client.Get(kConfigMaps, "n", "a").status()));
  EXPECT_EQ(server.asked().size(), 2u);
}

}  // namespace
}  // namespace patella::kube
