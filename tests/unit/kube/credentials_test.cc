// Tokens, certificates and credential plugins: what is read again, when, and what a plugin that is broken says.
#include "lib/kube/credentials.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>

#include "absl/time/clock.h"
#include "absl/time/time.h"
#include "lib/base/text.h"
#include "lib/kube/exec_plugin.h"
#include "lib/kube/kubeconfig.h"
#include "lib/kube/rest_client.h"
#include "tests/unit/kube/exec_script.h"
#include "tests/unit/kube/local_server.h"

namespace patella::kube {
namespace {

using nlohmann::json;
using std::chrono::minutes;
using std::chrono::seconds;
using ::testing::HasSubstr;

std::string In(absl::Duration from_now) { return absl::FormatTime(absl::Now() + from_now, absl::UTCTimeZone()); }

std::string Message(const absl::Status& status) { return std::string(status.message()); }

TEST(ExecPluginTest, RunsWithTheFirstRequestAndAgainOnceWhatItGaveHasExpired) {
  const ExecScript script;
  script.Give({{"token", "first"}, {"expirationTimestamp", In(absl::Minutes(10))}});
  ClusterAccess access;
  script.UseIn(access);
  ManualClock clock;
  const auto credentials = *Credentials::Load(access, clock);
  EXPECT_EQ(script.runs(), 0);
  EXPECT_EQ(*credentials->Authorization(), "Bearer first");
  script.Give({{"token", "second"}});
  clock.Advance(minutes(9));
  EXPECT_EQ(*credentials->Authorization(), "Bearer first");
  EXPECT_EQ(script.runs(), 1);
  clock.Advance(minutes(1));
  EXPECT_EQ(*credentials->Authorization(), "Bearer second");
  clock.Advance(std::chrono::hours(1000));
  EXPECT_EQ(*credentials->Authorization(), "Bearer second") << "no time given: it does not expire";
  EXPECT_EQ(script.runs(), 2);
}

TEST(ExecPluginTest, A401OfALaterRequestDropsWhatItGave) {
  const ExecScript script;
  script.Give({{"token", "first"}});
  ClusterAccess access;
  script.UseIn(access);
  ManualClock clock;
  const auto credentials = *Credentials::Load(access, clock);
  const TimePoint before = clock.Now();
  clock.Advance(seconds(1));
  EXPECT_EQ(*credentials->Authorization(), "Bearer first");
  script.Give({{"token", "second"}});
  credentials->Rejected(before);  // a request with an older token: its 401 says nothing about this one
  EXPECT_EQ(*credentials->Authorization(), "Bearer first");
  clock.Advance(seconds(1));
  credentials->Rejected(clock.Now());
  EXPECT_EQ(*credentials->Authorization(), "Bearer second");
  EXPECT_EQ(script.runs(), 2);
}

TEST(ExecPluginTest, ACallWhoseTokenWasRevokedSucceedsWithTheNextOne) {
  std::atomic<bool> revoked = false;
  LocalServer server([&](const LocalServer::Asked& asked, size_t) {
    if (asked.authorization != (revoked ? "Bearer second" : "Bearer first")) return http::Response{.status = 401};
    return http::Response{.status = 200, .headers = {}, .body = "{}"};
  });
  const ExecScript script;
  script.Give({{"token", "first"}});
  ClusterAccess access = server.access();
  script.UseIn(access);
  const SteadyClock clock;
  const auto credentials = *Credentials::Load(access, clock);
  const auto transport = *MakeTransport(credentials);
  RestClient client(transport.get(), credentials, clock);
  EXPECT_TRUE(client.Raw("GET", "/version").ok());
  revoked = true;
  script.Give({{"token", "second"}});
  const auto answer = client.Raw("GET", "/version");
  EXPECT_TRUE(answer.ok()) << answer.status();
  EXPECT_EQ(server.asked().size(), 3u);
  EXPECT_EQ(script.runs(), 2);
  revoked = false;  // nothing that the plugin gives will do: told, and not asked for ever
  EXPECT_TRUE(IsUnauthorized(client.Raw("GET", "/version").status()));
  EXPECT_EQ(server.asked().size(), 5u);
}

TEST(ExecPluginTest, OneThatFailsEndsCallsAndWatchesWithItsReasonAndNothingIsSent) {
  LocalServer server([](const LocalServer::Asked&, size_t) { return http::Response{.status = 401}; });
  const ExecScript script("exit 3");
  ClusterAccess access = server.access();
  script.UseIn(access);
  const SteadyClock clock;
  const auto credentials = *Credentials::Load(access, clock);
  const auto transport = MakeTransport(credentials);
  ASSERT_TRUE(transport.ok()) << "it runs with the first request: " << transport.status();
  RestClient client(transport->get(), credentials, clock);
  EXPECT_THAT(Message(client.Get(kConfigMaps, "n", "a").status()), HasSubstr("exit code 3"));
  const auto watch = client.Watch(kConfigMaps, {.namespace_name = "n"});
  EXPECT_THAT(Message(watch->Next(seconds(20)).status()), HasSubstr("exit code 3"));
  EXPECT_TRUE(server.asked().empty());
}

TEST(ExecPluginTest, ItsCertificateIsTakenAtOnceAndANewOneMeansNewConnections) {
  const ExecScript script;
  script.Give({{"clientCertificateData", "c1"}, {"clientKeyData", "k1"}, {"expirationTimestamp", In(absl::Hours(1))}});
  ClusterAccess access;
  script.UseIn(access);
  ManualClock clock;
  const auto credentials = *Credentials::Load(access, clock);
  EXPECT_EQ(credentials->Tls()->client_certificate_pem, "") << "nothing was asked yet";
  EXPECT_EQ(*credentials->Authorization(), "");  // each request asks for this first
  const TlsMaterial first = *credentials->Tls();
  EXPECT_EQ(first.client_certificate_pem, "c1");
  EXPECT_EQ(first.client_key_pem, "k1");
  script.Give({{"clientCertificateData", "c2"}, {"clientKeyData", "k2"}});
  clock.Advance(std::chrono::hours(1));
  EXPECT_EQ(*credentials->Authorization(), "");
  const TlsMaterial second = *credentials->Tls();
  EXPECT_EQ(second.client_certificate_pem, "c2");
  EXPECT_GT(second.generation, first.generation);
  EXPECT_EQ(script.runs(), 2);
}

TEST(ExecPluginTest, IsToldOfTheClusterIfItWantsToKnow) {
  const ExecScript script("echo \"$KUBERNETES_EXEC_INFO\" > \"$FOLDER/info\"; cat \"$FOLDER/answer\"");
  script.Give({{"token", "t"}});
  ClusterAccess access;
  access.server = "https://example:6443";
  access.ca_pem = "pem";
  script.UseIn(access);
  access.exec->provide_cluster_info = true;
  ASSERT_TRUE(RunExecPlugin(*access.exec, access).ok());
  const json info = json::parse(script.Read("/info"));
  EXPECT_EQ(info["kind"], "ExecCredential");
  EXPECT_EQ(info["spec"]["interactive"], false);
  EXPECT_EQ(info["spec"]["cluster"]["server"], "https://example:6443");
  EXPECT_EQ(info["spec"]["cluster"]["certificate-authority-data"], "cGVt");
}

TEST(ExecPluginTest, OneThatIsNotThereIsNamedWithItsHint) {
  ClusterAccess access;
  access.exec = ExecPlugin{
      .api_version = ExecScript::kApiVersion, .command = "no-such-plugin", .install_hint = "get it from example"};
  const absl::Status status = RunExecPlugin(*access.exec, access).status();
  EXPECT_TRUE(absl::IsNotFound(status)) << status;
  EXPECT_THAT(Message(status), HasSubstr("no-such-plugin cannot be started"));
  EXPECT_THAT(Message(status), HasSubstr("get it from example"));
}

TEST(ExecPluginTest, OneThatFailsHangsOrPrintsSomethingElseIsNamedWithTheReason) {
  const auto ran = [](const std::string& body) {
    const ExecScript script(body);
    ClusterAccess access;
    script.UseIn(access);
    const absl::Status status = RunExecPlugin(*access.exec, access, std::chrono::milliseconds(500)).status();
    EXPECT_TRUE(absl::IsFailedPrecondition(status)) << status;
    EXPECT_THAT(Message(status), HasSubstr(script.path()));
    return Message(status);
  };
  EXPECT_THAT(ran("exit 3"), HasSubstr("exit code 3"));
  EXPECT_THAT(ran("exec sleep 100"), HasSubstr("did not end in 0.5 s"));
  EXPECT_THAT(ran("echo welcome"), HasSubstr("no JSON object"));
}

TEST(ExecPluginTest, AnAnswerThatCannotBeUsedIsNamedWithTheReason) {
  const ExecPlugin plugin{.api_version = ExecScript::kApiVersion, .command = "plugin"};
  const auto said = [&](const json& status, const char* version = ExecScript::kApiVersion) {
    return Message(ParseExecCredential(json{{"apiVersion", version}, {"status", status}}.dump(), plugin, 0).status());
  };
  EXPECT_THAT(said({{"token", "t"}}, "client.authentication.k8s.io/v1beta1"), HasSubstr("v1beta1', not"));
  EXPECT_THAT(said({{"token", "t"}, {"clientKeyData", "k"}}), HasSubstr("only one of"));
  EXPECT_THAT(said(json::object()), HasSubstr("neither a token nor a certificate"));
  EXPECT_THAT(said({{"token", "t"}, {"expirationTimestamp", "soon"}}), HasSubstr("'soon' is no time"));
  EXPECT_THAT(said(7), HasSubstr("no status"));
}

class CredentialFilesTest : public testing::Test {
 protected:
  CredentialFilesTest() : path_(StrCat(testing::TempDir(), "credential-", getpid())) { clock_.Advance(seconds(1)); }
  ~CredentialFilesTest() override { unlink(path_.c_str()); }
  void Write(const std::string& text) const { std::ofstream(path_) << text; }

  const std::string path_;
  ClusterAccess access_;
  ManualClock clock_;
};

TEST_F(CredentialFilesTest, ATokenIsReadAgainAfterAMinuteAndTheLastOneKeptIfThatFails) {
  Write("first\n");
  access_.token_file = path_;
  const auto credentials = *Credentials::Load(access_, clock_);
  EXPECT_EQ(*credentials->Authorization(), "Bearer first");
  Write("second\n");
  clock_.Advance(seconds(59));
  EXPECT_EQ(*credentials->Authorization(), "Bearer first");
  clock_.Advance(seconds(1));
  EXPECT_EQ(*credentials->Authorization(), "Bearer second");
  unlink(path_.c_str());
  clock_.Advance(seconds(60));
  EXPECT_EQ(*credentials->Authorization(), "Bearer second");
  Write("third");
  credentials->Rejected(clock_.Now());
  EXPECT_EQ(*credentials->Authorization(), "Bearer third") << "at once after a 401";
}

TEST_F(CredentialFilesTest, ACertificateAuthorityIsReadAgainAfterFiveMinutesAndAfterAFailedHandshake) {
  Write("old");
  access_.ca_file = path_;
  const auto credentials = *Credentials::Load(access_, clock_);
  EXPECT_EQ(credentials->Tls()->generation, 1u);
  Write("new");
  clock_.Advance(minutes(4));
  EXPECT_EQ(credentials->Tls()->ca_pem, "old");
  credentials->TlsFailed();
  EXPECT_EQ(credentials->Tls()->ca_pem, "new");
  EXPECT_EQ(credentials->Tls()->generation, 2u);
  credentials->TlsFailed();
  EXPECT_EQ(credentials->Tls()->generation, 2u) << "nothing has changed: connections stay";
  Write("newer");
  clock_.Advance(minutes(5));
  EXPECT_EQ(credentials->Tls()->ca_pem, "newer");
  unlink(path_.c_str());
  credentials->TlsFailed();
  EXPECT_EQ(credentials->Tls()->ca_pem, "newer");
}

TEST_F(CredentialFilesTest, APathThatLeadsNowhereIsToldAtTheStart) {
  access_.ca_file = path_;
  EXPECT_TRUE(absl::IsNotFound(Credentials::Load(access_, clock_).status()));
}

class InClusterTest : public testing::Test {
 protected:
  InClusterTest() { std::filesystem::create_directories(folder_); }
  ~InClusterTest() override { std::filesystem::remove_all(folder_); }
  void Write(const std::string& name, const std::string& text) const { std::ofstream(folder_ + "/" + name) << text; }
  absl::StatusOr<ClusterAccess> Load(const char* host) const {
    return LoadInCluster(folder_, [host](const char* name) {
      return std::string_view(name) == "KUBERNETES_SERVICE_HOST" ? host : "6443";
    });
  }

  const std::string folder_ = StrCat(testing::TempDir(), "service-account-", getpid());
};

TEST_F(InClusterTest, AddressTokenAuthorityAndNamespaceAreThoseOfThePod) {
  Write("token", "t");
  Write("namespace", "models\n");
  const auto access = Load("10.96.0.1");
  ASSERT_TRUE(access.ok()) << access.status();
  EXPECT_EQ(access->server, "https://10.96.0.1:6443");
  EXPECT_EQ(access->token_file, folder_ + "/token");
  EXPECT_EQ(access->ca_file, folder_ + "/ca.crt");
  EXPECT_EQ(access->namespace_name, "models");
  EXPECT_EQ(Load("fd00::1")->server, "https://[fd00::1]:6443");
}

TEST_F(InClusterTest, OutsideAPodOrWithoutATokenTheRemedyIsSaid) {
  EXPECT_THAT(Message(Load("").status()), HasSubstr("set KUBECONFIG instead"));
  EXPECT_THAT(Message(Load("10.96.0.1").status()), HasSubstr("mount the token of a ServiceAccount"));
}

}  // namespace
}  // namespace patella::kube
