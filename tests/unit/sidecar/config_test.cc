#include "sidecar/app/config.h"

#include <gtest/gtest.h>

#include <map>

namespace patella::sidecar {
namespace {

absl::StatusOr<Config> Parsed(std::map<std::string, std::string> environment) {
  const char* argv[] = {"patella-sidecar"};
  const auto settings = Settings::Parse(SidecarSettings(), 1, argv, [&](const char* name) -> const char* {
    const auto found = environment.find(name);
    return found == environment.end() ? nullptr : found->second.c_str();
  });
  EXPECT_TRUE(settings.ok()) << settings.status();
  return ParseConfig(*settings);
}

// Of a sidecar in a cluster that listens there for its peers.
absl::StatusOr<Config> ListeningOn(const std::string& address) {
  return Parsed({{"NAMESPACE", "models"},
                 {"DEPLOYMENT", "smollm2"},
                 {"REVISION", "aa"},
                 {"POD_NAME", "a"},
                 {"PEERS_LISTEN", address}});
}

TEST(SidecarConfigTest, ThePeersAreAskedAtThePortThatIsListenedOn) {
  const auto config = ListeningOn("0.0.0.0:9000");
  ASSERT_TRUE(config.ok()) << config.status();
  EXPECT_EQ(config->cluster.peers, "smollm2-pods.models.svc:9000");
}

TEST(SidecarConfigTest, AnAddressForPeersWithoutAPortIsTold) {
  const absl::Status status = ListeningOn("0.0.0.0").status();
  EXPECT_TRUE(absl::IsInvalidArgument(status)) << status;
  EXPECT_NE(status.message().find("PEERS_LISTEN"), std::string::npos) << status;
}

}  // namespace
}  // namespace patella::sidecar
