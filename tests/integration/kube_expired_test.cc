// A reflector that was away for so long that the API server has forgotten what happened meanwhile: etcd is compacted and
// the server restarted, so that a watch from the last version is answered 410. On a control plane apart.
#include <gtest/gtest.h>
#include <sys/wait.h>

#include <algorithm>
#include <nlohmann/json.hpp>

#include "lib/kube/reflector.h"
#include "tests/integration/change_log.h"
#include "tests/integration/connect.h"
#include "tests/integration/tcp_gate.h"
#include "tests/unit/seed.h"

namespace patella::kube {
namespace {

using integration::Admin;
using integration::ConnectWith;
using integration::Eventually;
using integration::ExpectSame;
using integration::History;
using integration::Numbered;
using integration::Setting;
using integration::TcpGate;
using integration::TestNamespace;
using integration::Told;
using integration::Writer;
using nlohmann::json;
using std::chrono::milliseconds;

const SteadyClock kClock;

void ControlPlane(const std::string& action, const std::string& server = "") {
  const std::string command =
      "python3 '" PATELLA_CONTROL_PLANE_PROGRAM "' " + action + " '" + Setting("PATELLA_CONTROL_PLANE") + "' " + server;
  const int status = std::system(command.c_str());
  ASSERT_TRUE(WIFEXITED(status) && WEXITSTATUS(status) == 0) << command;
}

// etcd forgets all versions before this one.
void Compact(std::string_view version) {
  std::ifstream file(Setting("PATELLA_CONTROL_PLANE") + "/ports.json");
  ClusterAccess etcd;
  etcd.server = "http://127.0.0.1:" + std::to_string(json::parse(file)["etcd"].get<int>());
  etcd.source = "the test";
  const Connection connection = *ConnectWith(etcd, kClock);
  const json body = {{"revision", std::string(version)}, {"physical", true}};
  const auto done = connection.client->Raw("POST", "/v3/kv/compaction", body.dump());
  ASSERT_TRUE(done.ok()) << done.status();
}

// All of `part` is in `whole`, in this order.
bool IsPartOf(const std::vector<std::string>& part, const std::vector<std::string>& whole) {
  auto at = whole.begin();
  for (const std::string& item : part) {
    at = std::find(at, whole.end(), item);
    if (at == whole.end()) return false;
    ++at;
  }
  return true;
}

// Of what was forgotten nobody can tell; but what is told is true, in order, and ends in what is so.
void ExpectTrue(const History& told, const History& happened) {
  for (const auto& [name, log] : happened) {
    SCOPED_TRACE(name);
    const auto found = told.find(name);
    if (found == told.end()) {
      EXPECT_EQ(log.back(), "gone") << "it came and went meanwhile";
      continue;
    }
    EXPECT_TRUE(IsPartOf(found->second, log)) << json(found->second) << " of " << json(log);
    EXPECT_EQ(found->second.back(), log.back());
  }
}

TEST(KubeExpiredTest, AWatchFromAVersionThatIsForgottenListsAnewAndLosesNothing) {
  const uint64_t seed = Seed(5);
  const TestNamespace ns;
  ClusterAccess access = Admin();
  const Connection direct = *ConnectWith(access, kClock);
  TcpGate gate(integration::PortOf(access.server), seed);
  access.server = "https://127.0.0.1:" + std::to_string(gate.port());
  const Connection gated = *ConnectWith(access, kClock);
  Cache cache(kConfigMaps);
  const Told told(cache);
  ReflectorOptions options{.namespace_name = ns.name(), .seed = seed};
  options.backoff = {.initial = milliseconds(20), .cap = milliseconds(200)};
  Reflector reflector(gated.client.get(), &cache, options, kClock);
  reflector.Start();
  ASSERT_TRUE(Eventually([&] { return reflector.HasSynced(); }));
  Writer writer(direct.client.get(), ns.name(), seed);
  for (int i = 0; i < 20; ++i) ASSERT_NO_FATAL_FAILURE(writer.Change());
  ASSERT_TRUE(Eventually([&] { return told.log() == writer.log(); }));
  const ReflectorStats before = reflector.Stats();
  const auto last_seen = direct.client->List(kConfigMaps, {.namespace_name = ns.name()});
  ASSERT_TRUE(last_seen.ok()) << last_seen.status();

  gate.SetFault(TcpGate::Fault::kRefuse, 0);
  gate.CutAll();
  for (int i = 0; i < 60; ++i) ASSERT_NO_FATAL_FAILURE(writer.Change());
  const auto newest = direct.client->List(kConfigMaps, {.namespace_name = ns.name()});
  ASSERT_TRUE(newest.ok()) << newest.status();
  ASSERT_NO_FATAL_FAILURE(ControlPlane("stop", "kube-apiserver"));
  ASSERT_NO_FATAL_FAILURE(Compact(newest->resource_version));
  ASSERT_NO_FATAL_FAILURE(ControlPlane("start"));
  const auto watch =
      direct.client->Watch(kConfigMaps, {.namespace_name = ns.name(), .resource_version = last_seen->resource_version});
  const absl::StatusOr<WatchEvent> event = watch->Next(std::chrono::seconds(20));
  EXPECT_TRUE(IsExpired(event.status())) << event.status();

  gate.SetFault(TcpGate::Fault::kNone, 0);
  const auto lists = [](const ReflectorStats& stats) { return stats.lists + stats.watch_lists; };
  ASSERT_TRUE(Eventually([&] {
    const ReflectorStats now = reflector.Stats();
    return lists(now) > lists(before) && now.last_error.ok();
  }));
  ExpectTrue(told.log(), writer.log());
  ExpectSame(cache, *direct.client, ns.name());
  // And it follows again, change by change.
  const uint64_t filled = lists(reflector.Stats());
  History follows = told.log();
  const History happened = writer.log();
  for (int i = 0; i < 20; ++i) ASSERT_NO_FATAL_FAILURE(writer.Change());
  for (const auto& [name, log] : writer.log()) {
    const auto old = happened.find(name);
    const size_t known = old == happened.end() ? 0 : old->second.size();
    follows[name].insert(follows[name].end(), log.begin() + static_cast<long>(known), log.end());
  }
  std::erase_if(follows, [](const auto& entry) { return entry.second.empty(); });
  Eventually([&] { return told.log() == follows; });
  EXPECT_EQ(json(told.log()), json(follows));
  EXPECT_EQ(lists(reflector.Stats()), filled);
  reflector.Stop();
}

TEST(KubeExpiredTest, AListWhosePagesAreOvertakenIsWholeAllTheSame) {
  const TestNamespace ns;
  const Connection connection = *ConnectWith(Admin(), kClock);
  for (int i = 0; i < 7; ++i) {
    const auto made = connection.client->Create(kConfigMaps, ns.name(), Numbered("m" + std::to_string(i), i));
    ASSERT_TRUE(made.ok()) << made.status();
  }
  ListOptions options{.namespace_name = ns.name(), .field_selector = "metadata.name!=kube-root-ca.crt", .limit = 3};
  const auto page = connection.client->List(kConfigMaps, options);
  ASSERT_TRUE(page.ok()) << page.status();
  options.continue_token = page->continue_token;
  ASSERT_NE(options.continue_token, "");
  const auto later = connection.client->Create(kConfigMaps, ns.name(), Numbered("m8", 8));
  ASSERT_TRUE(later.ok()) << later.status();
  ASSERT_NO_FATAL_FAILURE(ControlPlane("stop", "kube-apiserver"));  // what it holds in memory would do as well
  ASSERT_NO_FATAL_FAILURE(Compact((*later)->resource_version()));
  ASSERT_NO_FATAL_FAILURE(ControlPlane("start"));
  const auto next = connection.client->List(kConfigMaps, options);
  ASSERT_TRUE(IsExpired(next.status())) << next.status();
  const auto all = ListAll(*connection.client, kConfigMaps, options);
  ASSERT_TRUE(all.ok()) << all.status();
  EXPECT_EQ(all->items.size(), 8u);
}

}  // namespace
}  // namespace patella::kube
