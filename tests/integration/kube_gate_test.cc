// A reflector behind a gate that cuts, closes, delays, corrupts and stalls its connections to a real API server: it tells
// of every change, once and in order, as the log of the one who made the changes says.
#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

#include "lib/kube/reflector.h"
#include "tests/integration/change_log.h"
#include "tests/integration/connect.h"
#include "tests/integration/tcp_gate.h"
#include "tests/unit/seed.h"

namespace patella::kube {
namespace {

using integration::ConnectWith;
using integration::Eventually;
using integration::ExpectSame;
using integration::Numbered;
using integration::NumberOf;
using integration::PortOf;
using integration::TcpGate;
using integration::TestNamespace;
using integration::Told;
using integration::Writer;
using nlohmann::json;
using std::chrono::milliseconds;
using std::chrono::seconds;

class KubeGateTest : public testing::TestWithParam<TcpGate::Fault> {};

TEST_P(KubeGateTest, EveryChangeIsToldOnceAndInOrder) {
  const uint64_t seed = Seed(11);
  SteadyClock clock;
  const TestNamespace ns;
  ClusterAccess access = integration::Admin();
  const Connection direct = *ConnectWith(access, clock);
  TcpGate gate(PortOf(access.server), seed);
  access.server = "https://127.0.0.1:" + std::to_string(gate.port());
  const Connection gated = *ConnectWith(access, clock);

  Cache cache(kConfigMaps);
  const Told told(cache);
  ReflectorOptions options{.namespace_name = ns.name(), .seed = seed};
  options.min_watch = seconds(2);  // a stalled connection is given up 15 s after that
  options.backoff = {.initial = milliseconds(20), .cap = milliseconds(200)};
  Reflector reflector(gated.client.get(), &cache, options, clock);
  reflector.Start();
  ASSERT_TRUE(Eventually([&] { return reflector.HasSynced(); }));

  const uint64_t first_fill = reflector.Stats().lists + reflector.Stats().watch_lists;
  Writer writer(direct.client.get(), ns.name(), seed);
  // 1 to 12000 bytes: in the TLS handshake (some 3 kB), in the answer's head, and between events.
  gate.SetFault(GetParam(), 12'000);
  gate.CutAll();
  const int rounds = GetParam() == TcpGate::Fault::kStall ? 1 : 10;
  for (int round = 0; round < rounds; ++round) {
    const int accepted = gate.accepted();
    for (int i = 0; i < 15; ++i) ASSERT_NO_FATAL_FAILURE(writer.Change());
    if (GetParam() == TcpGate::Fault::kDelay) gate.CutAll();
    ASSERT_TRUE(Eventually([&] { return gate.accepted() > accepted || GetParam() == TcpGate::Fault::kNone; },
                           seconds(40)));  // the fault hits, or the watch's time is up
  }
  EXPECT_TRUE(GetParam() == TcpGate::Fault::kNone || gate.faults() > 0);
  gate.SetFault(TcpGate::Fault::kNone, 0);
  Eventually([&] { return told.log() == writer.log(); }, seconds(40));
  const ReflectorStats stats = reflector.Stats();
  reflector.Stop();
  EXPECT_EQ(json(told.log()), json(writer.log()));
  ExpectSame(cache, *direct.client, ns.name());
  // Broken connections are resumed from the last version: no list anew.
  EXPECT_EQ(stats.lists + stats.watch_lists, first_fill);
  // Nothing in a hot loop: at 20 to 400 ms a failure.
  EXPECT_LE(stats.failures, 600u);
}

std::string FaultName(const testing::TestParamInfo<TcpGate::Fault>& info) {
  constexpr const char* kNames[] = {"None", "Cut", "Close", "Delay", "Corrupt", "Stall", "Refuse"};
  return kNames[static_cast<int>(info.param)];
}
using enum TcpGate::Fault;
INSTANTIATE_TEST_SUITE_P(Faults, KubeGateTest, testing::Values(kNone, kCut, kClose, kDelay, kCorrupt, kStall, kRefuse),
                         FaultName);

// Calls through connections that die: an answer or an error in bounded time, and the next call works.
TEST(KubeGateCallTest, CallsWorkAgainAfterTheConnectionsWereCut) {
  SteadyClock clock;
  const TestNamespace ns;
  ClusterAccess access = integration::Admin();
  TcpGate gate(PortOf(access.server), 3);
  access.server = "https://127.0.0.1:" + std::to_string(gate.port());
  const Connection gated = *ConnectWith(access, clock);
  ASSERT_TRUE(gated.client->Create(kConfigMaps, ns.name(), Numbered("a", 0)).ok());
  for (int i = 1; i <= 30; ++i) {
    gate.CutAll();
    const auto read = gated.client->Get(kConfigMaps, ns.name(), "a");
    ASSERT_TRUE(read.ok()) << read.status();
    EXPECT_EQ(NumberOf(**read), std::to_string(i - 1));
    const auto written = gated.client->MergePatch(kConfigMaps, ns.name(), "a", Numbered("a", i));
    ASSERT_TRUE(written.ok()) << written.status();
  }
  // Whatever is damaged on the way is an error, never another answer.
  gate.SetFault(TcpGate::Fault::kCorrupt, 6000);
  int failed = 0;
  for (int i = 0; i < 60; ++i) {
    gate.CutAll();
    const auto read = gated.client->Get(kConfigMaps, ns.name(), "a");
    if (read.ok()) {
      EXPECT_EQ(NumberOf(**read), "30");
    } else {
      ++failed;
      EXPECT_NE(ConnectionFailureOf(read.status()), ConnectionFailure::kNone) << read.status();
    }
  }
  EXPECT_GT(failed, 0);
  EXPECT_GT(gate.faults(), 0);
}

}  // namespace
}  // namespace patella::kube
