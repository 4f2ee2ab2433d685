// A reflector behind a gate that cuts, closes, delays, corrupts and stalls its connections to a real API server: it tells
// of every change, once and in order, as the log of the one who made the changes says.
#include <gtest/gtest.h>

#include <map>
#include <nlohmann/json.hpp>

#include "lib/kube/cache.h"
#include "lib/kube/kubeconfig.h"
#include "lib/kube/reflector.h"
#include "lib/kube/rest_client.h"
#include "tests/integration/control_plane.h"
#include "tests/integration/tcp_gate.h"

namespace patella::kube {
namespace {

using integration::Eventually;
using integration::TcpGate;
using integration::TestNamespace;
using nlohmann::json;
using std::chrono::milliseconds;
using std::chrono::seconds;

using History = std::map<std::string, std::vector<std::string>>;  // name -> data.n of each change, "gone"

Connection ConnectTo(ClusterAccess access, const Clock& clock) {
  Connection connection;
  connection.credentials = *Credentials::Load(std::move(access), clock);
  connection.transport = *MakeTransport(connection.credentials);
  connection.client = std::make_unique<RestClient>(connection.transport.get(), connection.credentials, clock);
  return connection;
}

int PortOf(const std::string& server) { return std::stoi(server.substr(server.rfind(':') + 1)); }

std::string Numbered(const std::string& name, int number) {
  return json{{"metadata", {{"name", name}}}, {"data", {{"n", std::to_string(number)}}}}.dump();
}

std::string NumberOf(const Object& object) { return json::parse(object.json())["data"]["n"]; }

// Changes ConfigMaps by a connection of its own, past the gate, and keeps the log.
class Writer {
 public:
  Writer(Client* client, std::string ns, uint64_t seed) : client_(client), ns_(std::move(ns)), random_(seed) {}

  void Change() {
    const std::string name = "o" + std::to_string(random_.UniformInt(0, 7));
    std::vector<std::string>& log = log_[name];
    const bool exists = !log.empty() && log.back() != "gone";
    if (exists && random_.Uniform() < 0.25) {
      ASSERT_TRUE(client_->Delete(kConfigMaps, ns_, name).ok());
      log.push_back("gone");
      return;
    }
    const std::string body = Numbered(name, ++number_);
    const auto written =
        exists ? client_->MergePatch(kConfigMaps, ns_, name, body) : client_->Create(kConfigMaps, ns_, body);
    ASSERT_TRUE(written.ok()) << written.status();
    log.push_back(std::to_string(number_));
  }
  const History& log() const { return log_; }

 private:
  Client* client_;
  const std::string ns_;
  Random random_;
  int number_ = 0;
  History log_;
};

class KubeGateTest : public testing::TestWithParam<TcpGate::Fault> {};

TEST_P(KubeGateTest, EveryChangeIsToldOnceAndInOrder) {
  constexpr uint64_t kSeed = 11;
  SteadyClock clock;
  const TestNamespace ns;
  ClusterAccess access = *LoadKubeconfig(integration::AdminKubeconfig());
  const Connection direct = ConnectTo(access, clock);
  TcpGate gate(PortOf(access.server), kSeed);
  access.server = "https://127.0.0.1:" + std::to_string(gate.port());
  const Connection gated = ConnectTo(access, clock);

  // Kubernetes itself puts a ConfigMap kube-root-ca.crt into each namespace: it is not in the log.
  Cache cache(kConfigMaps);
  std::mutex mutex;
  History told;
  cache.AddHandler([&](const Change& change) {
    const std::string name(change.object().name());
    if (name == "kube-root-ca.crt") return;
    const std::lock_guard lock(mutex);
    told[name].push_back(change.after == nullptr ? "gone" : NumberOf(*change.after));
  });
  ReflectorOptions options{.namespace_name = ns.name(), .seed = kSeed};
  options.min_watch = seconds(2);  // a stalled connection is given up 15 s after that
  options.backoff = {.initial = milliseconds(20), .cap = milliseconds(200)};
  Reflector reflector(gated.client.get(), &cache, options, clock);
  reflector.Start();
  ASSERT_TRUE(Eventually([&] { return reflector.HasSynced(); }));

  const uint64_t first_fill = reflector.Stats().lists + reflector.Stats().watch_lists;
  Writer writer(direct.client.get(), ns.name(), kSeed);
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
  Eventually(
      [&] {
        const std::lock_guard lock(mutex);
        return told == writer.log();
      },
      seconds(40));
  const ReflectorStats stats = reflector.Stats();
  reflector.Stop();
  const std::lock_guard lock(mutex);
  EXPECT_EQ(json(told), json(writer.log())) << "seed " << kSeed;
  // The cache is what the server has.
  const auto listed = ListAll(*direct.client, kConfigMaps, {.namespace_name = ns.name()});
  ASSERT_TRUE(listed.ok()) << listed.status();
  EXPECT_EQ(cache.size(), listed->items.size());
  for (const ObjectPtr& object : listed->items) {
    const ObjectPtr cached = cache.Get(object->key());
    ASSERT_NE(cached, nullptr) << object->name();
    EXPECT_EQ(cached->resource_version(), object->resource_version());
  }
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
  ClusterAccess access = *LoadKubeconfig(integration::AdminKubeconfig());
  TcpGate gate(PortOf(access.server), 3);
  access.server = "https://127.0.0.1:" + std::to_string(gate.port());
  const Connection gated = ConnectTo(access, clock);
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
