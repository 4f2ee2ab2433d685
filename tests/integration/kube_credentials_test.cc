// Credentials that change while a client of a real API server is at work: plugins, and the CA.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

#include "absl/time/clock.h"
#include "absl/time/time.h"
#include "lib/kube/files.h"
#include "lib/kube/reflector.h"
#include "tests/integration/connect.h"
#include "tests/unit/kube/exec_script.h"

namespace patella::kube {
namespace {

using integration::Admin;
using integration::ConnectWith;
using integration::Eventually;
using integration::Nobody;
using integration::Setting;
using integration::TestNamespace;
using nlohmann::json;
using ::testing::HasSubstr;

std::string Token(const TestNamespace& ns, const std::string& account) {
  ns.Kubectl({"create", "serviceaccount", account});
  std::string token = ns.Kubectl({"create", "token", account});
  while (token.ends_with('\n')) token.pop_back();
  return token;
}

std::string WhoAmI(const Connection& connection) {
  const auto answer = connection.client->Raw("POST", "/apis/authentication.k8s.io/v1/selfsubjectreviews",
                                             R"({"apiVersion":"authentication.k8s.io/v1","kind":"SelfSubjectReview"})");
  return answer.ok() ? json::parse(*answer)["status"]["userInfo"]["username"].get<std::string>()
                     : std::string(answer.status().message());
}

std::string InAnHour() { return absl::FormatTime(absl::Now() + absl::Hours(1), absl::UTCTimeZone()); }

TEST(KubeExecTest, APluginsTokenIsRenewedAfterA401AndOnceItHasExpired) {
  const TestNamespace ns;
  const ExecScript script;
  ClusterAccess access = Nobody();
  script.UseIn(access);
  ManualClock clock;
  const Connection connection = *ConnectWith(access, clock);
  EXPECT_EQ(script.runs(), 0);
  script.Give({{"token", "not-valid"}});
  EXPECT_THAT(WhoAmI(connection), HasSubstr("Unauthorized"));
  EXPECT_EQ(script.runs(), 2) << "once more, in case that token had just expired";
  script.Give({{"token", Token(ns, "one")}, {"expirationTimestamp", InAnHour()}});
  EXPECT_EQ(WhoAmI(connection), "system:serviceaccount:" + ns.name() + ":one");
  const int runs = script.runs();
  script.Give({{"token", Token(ns, "two")}});
  EXPECT_EQ(WhoAmI(connection), "system:serviceaccount:" + ns.name() + ":one");
  EXPECT_EQ(script.runs(), runs);
  clock.Advance(std::chrono::hours(1));
  EXPECT_EQ(WhoAmI(connection), "system:serviceaccount:" + ns.name() + ":two");
  EXPECT_EQ(script.runs(), runs + 1);
}

TEST(KubeExecTest, APluginsCertificateIsRenewedOnNewConnections) {
  const std::string keys = Setting("PATELLA_CONTROL_PLANE") + "/pki/";
  const auto pair = [&](const std::string& name) {
    return json{{"clientCertificateData", *ReadWholeFile(keys + name + ".crt")},
                {"clientKeyData", *ReadWholeFile(keys + name + ".key")},
                {"expirationTimestamp", InAnHour()}};
  };
  const ExecScript script;
  script.Give(pair("aggregator"));  // known to the server, but without any right
  ClusterAccess access = Nobody();
  script.UseIn(access);
  ManualClock clock;
  const Connection connection = *ConnectWith(access, clock);
  const auto refused = connection.client->List(kSecrets, {.namespace_name = "default"});
  EXPECT_TRUE(IsForbidden(refused.status())) << refused.status();
  EXPECT_THAT(std::string(refused.status().message()), HasSubstr("\"aggregator\""));
  script.Give(pair("admin"));
  clock.Advance(std::chrono::hours(1));
  const auto listed = connection.client->List(kSecrets, {.namespace_name = "default"});
  EXPECT_TRUE(listed.ok()) << listed.status();
  EXPECT_EQ(script.runs(), 2);
}

TEST(KubeClientCertificateTest, APairOfTwoRotationsIsNotUsedAndReadAgainAtTheNextCall) {
  const std::string keys = Setting("PATELLA_CONTROL_PLANE") + "/pki/";
  const std::string path = testing::TempDir() + "client-" + std::to_string(getpid());
  const auto rotate = [&](const std::string& name, const std::string& part) {
    std::ofstream(path + part) << *ReadWholeFile(keys + name + part);
  };
  rotate("aggregator", ".crt");
  rotate("aggregator", ".key");
  ClusterAccess access = Admin();
  access.client_certificate_file = path + ".crt", access.client_key_file = path + ".key";
  ManualClock clock;
  clock.Advance(std::chrono::seconds(1));
  const Connection connection = *ConnectWith(access, clock);
  const auto list = [&] { return connection.client->List(kSecrets, {.namespace_name = "default"}).status(); };
  EXPECT_TRUE(IsForbidden(list())) << list();
  rotate("admin", ".crt");
  clock.Advance(std::chrono::minutes(5));
  EXPECT_TRUE(IsForbidden(list())) << list();
  rotate("admin", ".key");
  EXPECT_TRUE(list().ok()) << list();
  unlink((path + ".crt").c_str());
  unlink((path + ".key").c_str());
}

class KubeCaTest : public testing::Test {
 protected:
  KubeCaTest() : path_(testing::TempDir() + "ca-" + std::to_string(getpid())) {
    const ClusterAccess admin = Admin();
    right_ = *ReadWholeFile(admin.ca_file);
    other_ = *ReadWholeFile(admin.client_certificate_file);  // a certificate, but it has signed nothing
  }
  ~KubeCaTest() override { unlink(path_.c_str()); }
  ClusterAccess Access(const std::string& ca) const {
    Write(ca);
    ClusterAccess access = Admin();
    access.ca_file = path_;
    return access;
  }
  void Write(const std::string& ca) const { std::ofstream(path_) << ca; }

  const std::string path_;
  std::string right_, other_;
};

TEST_F(KubeCaTest, AFileThatIsReplacedIsReadAgainInTimeAndAtOnceIfTheServerIsNotTrusted) {
  ManualClock clock;
  clock.Advance(std::chrono::seconds(1));
  const Connection connection = *ConnectWith(Access(right_), clock);
  const auto get = [&] { return connection.client->Get(kNamespaces, "", "default").status(); };
  EXPECT_TRUE(get().ok()) << get();
  Write(other_);
  EXPECT_TRUE(get().ok()) << get();
  clock.Advance(std::chrono::minutes(5));
  EXPECT_EQ(ConnectionFailureOf(get()), ConnectionFailure::kTls) << "connections from before are not used again";
  Write(right_);
  EXPECT_TRUE(get().ok()) << get();
  Write(other_ + right_);  // both, as long as servers of either kind are there
  clock.Advance(std::chrono::minutes(5));
  EXPECT_TRUE(get().ok()) << get();
}

TEST_F(KubeCaTest, AReflectorGoesOnOnceTheFileIsRight) {
  const SteadyClock clock;
  const Connection connection = *ConnectWith(Access(other_), clock);
  Cache cache(kNamespaces);
  ReflectorOptions options{.seed = 1};
  options.backoff = {.initial = std::chrono::milliseconds(20), .cap = std::chrono::milliseconds(200)};
  Reflector reflector(connection.client.get(), &cache, options, clock);
  reflector.Start();
  ASSERT_TRUE(Eventually([&] { return reflector.Stats().failures >= 2; }));
  EXPECT_FALSE(reflector.HasSynced());
  Write(right_);
  EXPECT_TRUE(Eventually([&] { return reflector.HasSynced(); }));
}

}  // namespace
}  // namespace patella::kube
