// lib/kube against a real API server: what it answers when all is well, and what it says when something is wrong.
#include <arpa/inet.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <signal.h>
#include <spawn.h>
#include <sys/socket.h>

#include <filesystem>
#include <nlohmann/json.hpp>

#include "lib/kube/cache.h"
#include "lib/kube/events.h"
#include "lib/kube/lease.h"
#include "lib/kube/reflector.h"
#include "tests/integration/connect.h"

namespace patella::kube {
namespace {

using integration::Admin;
using integration::AdminKubeconfig;
using integration::ConnectWith;
using integration::Eventually;
using integration::Nobody;
using integration::TestNamespace;
using nlohmann::json;
using std::chrono::milliseconds;
using std::chrono::seconds;
using ::testing::HasSubstr;

const SteadyClock kClock;

std::string Map(const std::string& name, const std::string& n) {
  return json{{"apiVersion", "v1"}, {"kind", "ConfigMap"}, {"metadata", {{"name", name}}}, {"data", {{"n", n}}}}.dump();
}

std::string Message(const absl::Status& status) { return std::string(status.message()); }

TEST(KubeClientTest, AListInPagesIsOneMoment) {
  const TestNamespace ns;
  const Connection connection = *ConnectWith(Admin(), kClock);
  for (int i = 0; i < 7; ++i) {
    const auto made = connection.client->Create(kConfigMaps, ns.name(), Map("m" + std::to_string(i), "0"));
    ASSERT_TRUE(made.ok()) << made.status();
  }
  ListOptions options{.namespace_name = ns.name(), .field_selector = "metadata.name!=kube-root-ca.crt", .limit = 3};
  const auto page = connection.client->List(kConfigMaps, options);
  ASSERT_TRUE(page.ok()) << page.status();
  EXPECT_EQ(page->items.size(), 3u);
  EXPECT_NE(page->continue_token, "");
  ASSERT_TRUE(connection.client->Create(kConfigMaps, ns.name(), Map("m9", "0")).ok());
  options.continue_token = page->continue_token;
  options.limit = 100;
  const auto rest = connection.client->List(kConfigMaps, options);
  ASSERT_TRUE(rest.ok()) << rest.status();
  EXPECT_EQ(rest->items.size(), 4u) << "what came after the first page is not in it";
  options.continue_token.clear();
  options.limit = 2;
  const auto all = ListAll(*connection.client, kConfigMaps, options);
  ASSERT_TRUE(all.ok()) << all.status();
  EXPECT_EQ(all->items.size(), 8u);
}

TEST(KubeClientTest, AnApplyConflictNamesFieldAndOwner) {
  const TestNamespace ns;
  const Connection connection = *ConnectWith(Admin(), kClock);
  Client& client = *connection.client;
  ASSERT_TRUE(client.Apply(kConfigMaps, ns.name(), "a", Map("a", "1"), {.manager = "first"}).ok());
  const auto conflict = client.Apply(kConfigMaps, ns.name(), "a", Map("a", "2"), {.manager = "second"});
  EXPECT_TRUE(IsConflict(conflict.status())) << conflict.status();
  EXPECT_THAT(Message(conflict.status()), HasSubstr(".data.n"));
  EXPECT_THAT(Message(conflict.status()), HasSubstr("first"));
  ASSERT_EQ(ApiErrorOf(conflict.status())->causes.size(), 1u);
  const auto forced = client.Apply(kConfigMaps, ns.name(), "a", Map("a", "2"), {.manager = "second", .force = true});
  ASSERT_TRUE(forced.ok()) << forced.status();
  EXPECT_EQ(json::parse((*forced)->json())["data"]["n"], "2");
  const auto same = client.Apply(kConfigMaps, ns.name(), "a", Map("a", "2"), {.manager = "second"});
  ASSERT_TRUE(same.ok());
  EXPECT_EQ((*same)->resource_version(), (*forced)->resource_version()) << "applying again writes nothing";
}

TEST(KubeClientTest, PreconditionsScaleAndStatusAreTheServers) {
  const TestNamespace ns;
  const Connection connection = *ConnectWith(Admin(), kClock);
  Client& client = *connection.client;
  ns.Kubectl({"create", "deployment", "web", "--image=none", "--replicas=1"});
  const auto scaled = client.SetScale(kDeployments, ns.name(), "web", 3);
  ASSERT_TRUE(scaled.ok()) << scaled.status();
  EXPECT_EQ(scaled->replicas, 3);
  EXPECT_TRUE(IsConflict(client.SetScale(kDeployments, ns.name(), "web", 4, "1").status()));
  EXPECT_TRUE(IsConflict(client.Delete(kDeployments, ns.name(), "web", {.uid = "of another"})));
  const auto status =
      client.MergePatch(kDeployments, ns.name(), "web", R"({"spec":{"replicas":9},"status":{"collisionCount":7}})",
                        {.subresource = "status"});
  ASSERT_TRUE(status.ok()) << status.status();
  EXPECT_EQ(json::parse((*status)->json())["status"]["collisionCount"], 7);
  EXPECT_EQ(client.GetScale(kDeployments, ns.name(), "web")->replicas, 3) << "status leaves spec alone";
  EXPECT_TRUE(client.Delete(kDeployments, ns.name(), "web").ok());
  EXPECT_TRUE(kube::IsNotFound(client.Get(kDeployments, ns.name(), "nothing").status()));
}

// How soon is tests/integration/test_operator_times.py's, for make soak, and in virtual time tests/unit/kube/lease_test.cc's.
TEST(KubeClientTest, ALeaseThatIsGivenUpIsFreeAtOnceAndTheOtherTakesIt) {
  const TestNamespace ns;
  const Connection connection = *ConnectWith(Admin(), kClock);
  const auto settings = [&](const std::string& who) {
    return LeaseSettings{.namespace_name = ns.name(), .name = "lease", .identity = who, .watch = true};
  };
  LeaderElector first(connection.client.get(), settings("first"), kClock, {});
  LeaderElector second(connection.client.get(), settings("second"), kClock, {});
  first.Start();
  ASSERT_TRUE(Eventually([&] { return first.IsLeader(); }));
  second.Start();
  ASSERT_TRUE(Eventually([&] { return second.Holder() == "first"; }));
  EXPECT_FALSE(second.IsLeader());
  first.Stop(/*release=*/true);
  EXPECT_FALSE(first.IsLeader());
  const auto lease = connection.client->Get(kLeases, ns.name(), "lease");
  ASSERT_TRUE(lease.ok()) << lease.status();
  EXPECT_NE(ParseLease(**lease)->holder, "first") << "not left to expire";
  EXPECT_TRUE(Eventually([&] { return second.IsLeader(); }));
  second.Stop(/*release=*/true);
}

TEST(KubeClientTest, TheSameEventAgainIsOneObjectWithACount) {
  const TestNamespace ns;
  const Connection connection = *ConnectWith(Admin(), kClock);
  const auto made = connection.client->Create(kConfigMaps, ns.name(), Map("a", "1"));
  ASSERT_TRUE(made.ok()) << made.status();
  EventRecorder recorder(connection.client.get(), {.controller = "patella.dev/test", .instance = "pod-1"}, kClock);
  for (int i = 0; i < 5; ++i)
    recorder.Record({.regarding = ReferenceTo(**made), .warning = true, .reason = "Missed", .note = "p90 is 60 ms"});
  recorder.Record({.regarding = ReferenceTo(**made), .reason = "Tuned", .note = "limit 8"});
  const ObjectReference without_namespace{"v1", "Node", "", ns.name(), "uid", ""};
  recorder.Record({.regarding = without_namespace, .reason = "Counted", .note = "8 accelerators"});
  recorder.Stop(seconds(20));
  const auto listed = connection.client->List(kEvents, {.namespace_name = ns.name()});
  ASSERT_TRUE(listed.ok()) << listed.status();
  ASSERT_EQ(listed->items.size(), 2u);
  for (const ObjectPtr& item : listed->items) {
    const json event = json::parse(item->json());
    const bool again = event["reason"] == "Missed";
    EXPECT_EQ(event["type"], again ? "Warning" : "Normal");
    EXPECT_EQ(event["reportingInstance"], "pod-1");
    EXPECT_EQ(event.contains("series"), again);
    if (!again) continue;
    EXPECT_EQ(event["series"]["count"], 5);
    EXPECT_GE(event["series"]["lastObservedTime"], event["eventTime"]);
  }
  EXPECT_THAT(ns.Kubectl({"describe", "configmap", "a"}), HasSubstr("x5 over"));
  const std::string about = "regarding.name=" + ns.name();
  const auto elsewhere = connection.client->List(kEvents, {.namespace_name = "default", .field_selector = about});
  ASSERT_TRUE(elsewhere.ok()) << elsewhere.status();
  ASSERT_EQ(elsewhere->items.size(), 1u) << "of an object without a namespace";
  EXPECT_TRUE(connection.client->Delete(kEvents, "default", elsewhere->items[0]->name()).ok());
}

TEST(KubeClientTest, TheReadmesControllerWorks) {
  const TestNamespace ns;
  const std::string program = std::filesystem::read_symlink("/proc/self/exe").parent_path() / "kube_example";
  const std::string kubeconfig = "KUBECONFIG=" + AdminKubeconfig();
  char* const arguments[] = {const_cast<char*>(program.c_str()), nullptr};
  char* const environment[] = {const_cast<char*>(kubeconfig.c_str()), nullptr};
  pid_t child = 0;
  ASSERT_EQ(posix_spawn(&child, program.c_str(), nullptr, nullptr, arguments, environment), 0) << program;
  ns.Kubectl({"create", "configmap", "a", "--from-literal=n=1"});
  EXPECT_TRUE(Eventually([&] {
    return ns.Kubectl({"get", "configmap", "a", "-o", "jsonpath={.metadata.labels}"}).find("example/size") !=
           std::string::npos;
  }));
  kill(child, SIGTERM);
  int status = 0;
  ASSERT_EQ(waitpid(child, &status, 0), child);
  EXPECT_TRUE(WIFEXITED(status) && WEXITSTATUS(status) == 0) << status;
}

TEST(KubeBadCasesTest, NoCluster) {
  const int taken = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);  // bound, but nobody listens
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  socklen_t size = sizeof address;
  ASSERT_EQ(bind(taken, reinterpret_cast<sockaddr*>(&address), size), 0);
  ASSERT_EQ(getsockname(taken, reinterpret_cast<sockaddr*>(&address), &size), 0);
  ClusterAccess access = Admin();
  access.server = "https://127.0.0.1:" + std::to_string(ntohs(address.sin_port));
  const Connection connection = *ConnectWith(access, kClock);
  const auto read = connection.client->Get(kNamespaces, "", "default");
  EXPECT_EQ(ConnectionFailureOf(read.status()), ConnectionFailure::kRefused) << read.status();
  EXPECT_THAT(Message(read.status()), HasSubstr("is the API server up"));
  EXPECT_THAT(Message(read.status()), HasSubstr(AdminKubeconfig()));
  close(taken);
}

TEST(KubeBadCasesTest, WrongCa) {
  const ClusterAccess admin = Admin();
  ClusterAccess access = admin;  // a certificate, but of a client: it has signed nothing
  access.ca_pem = admin.client_certificate_pem;
  access.ca_file = admin.client_certificate_pem.empty() ? admin.client_certificate_file : "";
  const Connection connection = *ConnectWith(access, kClock);
  const auto read = connection.client->Get(kNamespaces, "", "default");
  EXPECT_EQ(ConnectionFailureOf(read.status()), ConnectionFailure::kTls) << read.status();
  EXPECT_THAT(Message(read.status()), HasSubstr("certificate verify failed"));
  EXPECT_THAT(Message(read.status()), HasSubstr("certificate-authority"));
}

TEST(KubeBadCasesTest, ATokenThatIsNotValidAnyMore) {
  ClusterAccess access = Nobody();
  access.token = "expired";
  const Connection connection = *ConnectWith(access, kClock);
  const auto read = connection.client->Get(kNamespaces, "", "default");
  EXPECT_TRUE(IsUnauthorized(read.status())) << read.status();
  EXPECT_THAT(Message(read.status()), HasSubstr("renew the token"));
  EXPECT_EQ(Message(read.status()).find("\"expired\""), std::string::npos) << "the token is a secret";
}

TEST(KubeBadCasesTest, ARenewedTokenFileIsReadAtTheFirstRefusal) {
  const TestNamespace ns;
  ns.Kubectl({"create", "serviceaccount", "reader"});
  ns.Kubectl({"create", "rolebinding", "reader", "--clusterrole=view", "--serviceaccount=" + ns.name() + ":reader"});
  const std::string path = testing::TempDir() + "token-" + ns.name();
  std::ofstream(path) << "expired";
  ClusterAccess access = Nobody();
  access.token_file = path;
  const Connection connection = *ConnectWith(access, kClock);
  EXPECT_TRUE(IsUnauthorized(connection.client->List(kConfigMaps, {.namespace_name = ns.name()}).status()));
  std::ofstream(path) << ns.Kubectl({"create", "token", "reader"});
  EXPECT_TRUE(Eventually([&] {  // until the binding is known
    return connection.client->List(kConfigMaps, {.namespace_name = ns.name()}).ok();
  }));
  unlink(path.c_str());
}

TEST(KubeBadCasesTest, AMissingDefinition) {
  const Connection connection = *ConnectWith(Admin(), kClock);
  constexpr Resource kMissing{"nothing.patella.dev", "v1", "widgets", "Widget"};
  const auto listed = connection.client->List(kMissing, {});
  EXPECT_TRUE(kube::IsNotFound(listed.status())) << listed.status();
  EXPECT_THAT(Message(listed.status()), HasSubstr("widgets.nothing.patella.dev"));
  EXPECT_THAT(Message(listed.status()), HasSubstr("install its CustomResourceDefinition"));
}

TEST(KubeBadCasesTest, ForbiddenNamesTheMissingRuleAndIsNotRepeatedInAHotLoop) {
  const TestNamespace ns;
  const Connection connection = *ConnectWith(*LoadKubeconfig(integration::UserKubeconfig()), kClock);
  const auto listed = connection.client->List(kConfigMaps, {.namespace_name = ns.name()});
  EXPECT_TRUE(IsForbidden(listed.status())) << listed.status();
  EXPECT_THAT(Message(listed.status()), HasSubstr("Role or ClusterRole with verb list on configmaps"));
  Cache cache(kConfigMaps);
  Reflector reflector(connection.client.get(), &cache, {.namespace_name = ns.name(), .seed = 1}, kClock);
  const TimePoint began = kClock.Now();
  reflector.Start();
  EXPECT_TRUE(Eventually([&] { return reflector.Stats().failures >= 3; }));
  EXPECT_GE(Seconds(kClock.Now() - began), 0.8 + 1.6) << "the waits between three tries";
  EXPECT_FALSE(reflector.HasSynced());
  EXPECT_TRUE(IsForbidden(reflector.Stats().last_error)) << reflector.Stats().last_error;
  // It mends itself once the rule is there.
  ns.Kubectl({"create", "role", "reader", "--verb=list,watch", "--resource=configmaps"});
  ns.Kubectl({"create", "rolebinding", "reader", "--role=reader", "--user=test-user"});
  EXPECT_TRUE(Eventually([&] { return reflector.HasSynced(); }));
}

}  // namespace
}  // namespace patella::kube
