#include "sidecar/cluster/peers.h"

#include <gtest/gtest.h>

namespace patella::sidecar {
namespace {

PeerReport Of(const std::string& pod) { return {.pod = pod, .revision = "aa", .limit = 8, .worst_target_ratio = 0.5}; }

TEST(PeersTest, TheElectedOneHearsAllWhoAnswer) {
  auto b = Peers::Start({.listen = "127.0.0.1:0"}, [] { return Of("b"); });
  auto c = Peers::Start({.listen = "127.0.0.1:0"}, [] { return Of("c"); });
  ASSERT_TRUE(b.ok() && c.ok());
  const std::string ports = "127.0.0.1:" + std::to_string((*b)->port()) + ",127.0.0.1:" + std::to_string((*c)->port());
  auto a = Peers::Start({.listen = "127.0.0.1:0", .peers = ports + ",127.0.0.1:1"}, [] { return Of("a"); });
  ASSERT_TRUE(a.ok()) << a.status();
  std::vector<PeerReport> reports = (*a)->Ask("a");
  ASSERT_EQ(reports.size(), 2u);
  EXPECT_EQ(reports[0].limit, 8);
  EXPECT_EQ(reports[0].worst_target_ratio, 0.5);
  EXPECT_EQ((*a)->Ask("b").size(), 1u) << "not its own";
  c->reset();
  EXPECT_EQ((*a)->Ask("a").size(), 1u);
}

TEST(PeersTest, ATakenPortAndAMissingCertificateAreTold) {
  auto a = Peers::Start({.listen = "127.0.0.1:0"}, [] { return Of("a"); });
  ASSERT_TRUE(a.ok());
  const auto taken = Peers::Start({.listen = "127.0.0.1:" + std::to_string((*a)->port())}, [] { return Of("b"); });
  EXPECT_TRUE(absl::IsAlreadyExists(taken.status())) << taken.status();
  const auto missing = Peers::Start({.listen = "127.0.0.1:0", .certificates = "/nowhere"}, [] { return Of("b"); });
  EXPECT_NE(std::string(missing.status().message()).find("/nowhere/ca.crt"), std::string::npos) << missing.status();
}

}  // namespace
}  // namespace patella::sidecar
