#include "sidecar/cluster/peers.h"

#include <gtest/gtest.h>
#include <unistd.h>

#include <atomic>
#include <filesystem>
#include <fstream>
#include <tuple>

#include "operator/apply/peers.h"
#include "sidecar/cluster/handover.h"

namespace patella::sidecar {
namespace {

constexpr Duration kPatience = std::chrono::seconds(60);  // machines may be busy

PeerReport Of(const std::string& pod) { return {.pod = pod, .revision = "aa", .limit = 8, .worst_target_ratio = 0.5}; }

TEST(PeersTest, TheElectedOneHearsAllWhoAnswer) {
  auto b = Peers::Start({.listen = "127.0.0.1:0"}, [] { return Of("b"); });
  auto c = Peers::Start({.listen = "127.0.0.1:0"}, [] { return Of("c"); });
  ASSERT_TRUE(b.ok() && c.ok());
  const std::string ports = "127.0.0.1:" + std::to_string((*b)->port()) + ",127.0.0.1:" + std::to_string((*c)->port());
  auto a = Peers::Start({.listen = "127.0.0.1:0", .peers = ports + ",127.0.0.1:1", .patience = kPatience},
                        [] { return Of("a"); });
  ASSERT_TRUE(a.ok()) << a.status();
  std::vector<PeerReport> reports = (*a)->Ask("a");
  ASSERT_EQ(reports.size(), 2u);
  EXPECT_EQ(reports[0].limit, 8);
  EXPECT_EQ(reports[0].worst_target_ratio, 0.5);
  EXPECT_EQ((*a)->Ask("b").size(), 1u) << "not its own";
  c->reset();
  EXPECT_EQ((*a)->Ask("a").size(), 1u);
}

// What a replica that measured itself would say.
PeerReport Calibrated(const std::string& pod, const std::string& revision) {
  PeerReport report{.pod = pod, .revision = revision, .limit = 16, .calibrated_at_s = 1'800'000'000};
  Learned& learned = report.learned;
  learned = {.key = "k", .limit = 20, .bound_by = "TimePerOutputToken", .confidence = "High", .a_ms = 10, .b_ms = 2};
  learned.points = {{1, 12, 83.3, 40}, {8, 26, 307.7, 60}};
  learned.step_model = {.points = {{1, 12}, {8, 26}}, .prompt_ms_per_token = 0.25};
  learned.level = 1.5;
  learned.payload = {120, 60};
  learned.spreads = {{science::LatencyMetric::kTimeToFirstToken, 0.95, 1.4}};
  learned.most = 64;
  return report;
}

// A sidecar that starts, and one real peer on loopback that answers with `own`.
class HandOverTest : public testing::Test {
 protected:
  std::vector<Learned> Ask(std::function<PeerReport()> own, std::function<bool(Duration)> wait) {
    auto peer = Peers::Start({.listen = "127.0.0.1:0"}, std::move(own));
    EXPECT_TRUE(peer.ok()) << peer.status();
    auto starting = Peers::Start(
        {.listen = "127.0.0.1:0", .peers = "127.0.0.1:" + std::to_string((*peer)->port()), .patience = kPatience},
        [] { return PeerReport{.pod = "b", .revision = "aa"}; });
    EXPECT_TRUE(starting.ok()) << starting.status();
    return AskForLearned(**starting, {.pod = "b", .revision = "aa", .key = "k"}, wait);
  }
  int pauses_ = 0;
  const std::function<bool(Duration)> count_ = [this](Duration) { return ++pauses_ > 0; };
};

TEST_F(HandOverTest, ACurveArrivesAsItWasSent) {
  const PeerReport sent = Calibrated("a", "aa");
  const std::vector<Learned> got = Ask([&] { return sent; }, count_);
  EXPECT_EQ(pauses_, 0) << "no reason to wait";
  ASSERT_EQ(got.size(), 1u);
  const Learned &a = got[0], &b = sent.learned;
  EXPECT_EQ(a.pod, "a");
  EXPECT_EQ(a.calibrated_at_s, 1'800'000'000);
  EXPECT_EQ(std::tie(a.key, a.limit, a.bound_by, a.confidence, a.a_ms, a.b_ms, a.cap, a.level, a.most),
            std::tie(b.key, b.limit, b.bound_by, b.confidence, b.a_ms, b.b_ms, b.cap, b.level, b.most));
  ASSERT_EQ(a.points.size(), 2u);
  EXPECT_EQ(a.points[1].tokens_per_second, 307.7);
  EXPECT_EQ(a.points[1].samples, 60);
  ASSERT_EQ(a.step_model.points.size(), 2u);
  EXPECT_EQ(a.step_model.points[1].ms, 26);
  EXPECT_EQ(a.step_model.prompt_ms_per_token, 0.25);
  EXPECT_EQ(a.payload.output_tokens, 60);
  ASSERT_EQ(a.spreads.size(), 1u);
  EXPECT_EQ(a.spreads[0].metric, science::LatencyMetric::kTimeToFirstToken);
  EXPECT_EQ(a.spreads[0].ratio, 1.4);
}

TEST_F(HandOverTest, AnotherRevisionsCurveIsNeverUsed) {
  EXPECT_TRUE(Ask([] { return Calibrated("a", "bb"); }, count_).empty());
  EXPECT_EQ(pauses_, 3) << "asked again, then no more";
}

TEST_F(HandOverTest, WhatWasLearnedUnderOtherOptionsOrNotAtAllIsNotUsed) {
  EXPECT_TRUE(Ask(
                  [] {
                    PeerReport report = Calibrated("a", "aa");
                    report.learned.key = "other targets";
                    return report;
                  },
                  count_)
                  .empty());
  EXPECT_TRUE(Ask([] { return Of("a"); }, count_).empty());
}

TEST_F(HandOverTest, APeerThatIsReadyAMomentLaterIsHeard) {
  std::atomic<bool> ready = false;
  const auto own = [&ready] { return ready ? Calibrated("a", "aa") : Of("a"); };
  const std::vector<Learned> got = Ask(own, [&](Duration) { return ready = true; });
  EXPECT_EQ(got.size(), 1u);
}

TEST_F(HandOverTest, ASidecarThatIsStoppedDoesNotGoOnAsking) {
  EXPECT_TRUE(Ask([] { return Of("a"); }, [this](Duration) { return ++pauses_ < 0; }).empty());
  EXPECT_EQ(pauses_, 1);
}

TEST(PeersTest, ATakenPortAndAMissingCertificateAreTold) {
  auto a = Peers::Start({.listen = "127.0.0.1:0"}, [] { return Of("a"); });
  ASSERT_TRUE(a.ok());
  const auto taken = Peers::Start({.listen = "127.0.0.1:" + std::to_string((*a)->port())}, [] { return Of("b"); });
  EXPECT_TRUE(absl::IsAlreadyExists(taken.status())) << taken.status();
  const auto missing = Peers::Start({.listen = "127.0.0.1:0", .certificates = "/nowhere"}, [] { return Of("b"); });
  EXPECT_NE(std::string(missing.status().message()).find("/nowhere/ca.crt"), std::string::npos) << missing.status();
}

// One sidecar with mutual TLS whose mounted Secret changes, and others that ask it.
class CertificatesTest : public testing::Test {
 protected:
  CertificatesTest() { std::filesystem::create_directories(folder_); }
  ~CertificatesTest() override { std::filesystem::remove_all(folder_); }

  static render::PeerCertificates Made() {
    return *apply::MakePeerCertificates({kServer}, std::chrono::system_clock::now());
  }
  void Mount(const render::PeerCertificates& c) const {
    for (const auto& [name, text] :
         {std::pair("ca.crt", c.ca), std::pair("tls.crt", c.certificate), std::pair("tls.key", c.key)})
      std::ofstream(folder_ / name, std::ios::trunc) << text;
  }
  std::unique_ptr<Peers> Start(const std::string& peers, const std::string& pod) const {
    auto started = Peers::Start({.listen = "127.0.0.1:0",
                                 .certificates = folder_,
                                 .peers = peers,
                                 .server_name = kServer,
                                 .patience = kPatience},
                                [pod] { return Of(pod); });
    EXPECT_TRUE(started.ok()) << started.status();
    return *std::move(started);
  }
  // Whether a sidecar that has what is mounted now gets an answer.
  bool Answers(const Peers& peers) const {
    return Start("127.0.0.1:" + std::to_string(peers.port()), "asker")->Ask("asker").size() == 1;
  }

  static constexpr char kServer[] = "smollm2-pods.models.svc";
  const std::filesystem::path folder_ =
      std::filesystem::path(testing::TempDir()) /
      ("peers." + std::to_string(getpid()) + "." + testing::UnitTest::GetInstance()->current_test_info()->name());
};

// kubelet may swap the mounted files between two of our reads.
TEST_F(CertificatesTest, AKeyOfAnotherCertificateEndsNothingAndIsReadAgain) {
  const render::PeerCertificates before = Made(), after = Made();
  Mount(before);
  const std::unique_ptr<Peers> peers = Start("", "a");
  render::PeerCertificates mixed = after;
  mixed.key = before.key;
  for (int look = 0; look < 2; ++look) {
    Mount(mixed);
    peers->FollowCertificates();
    Mount(before);
    EXPECT_TRUE(Answers(*peers)) << "with the pair that it has";
  }
  Mount(after);
  peers->FollowCertificates();
  EXPECT_TRUE(Answers(*peers));
}

}  // namespace
}  // namespace patella::sidecar
