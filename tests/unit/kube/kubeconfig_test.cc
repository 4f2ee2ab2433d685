// Kubeconfigs as kubectl reads them: what is chosen and merged, and what a broken one says.
#include "lib/kube/kubeconfig.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>

#include "absl/strings/escaping.h"
#include "lib/base/text.h"

namespace patella::kube {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::Pair;

constexpr char kWhole[] = R"(apiVersion: v1
kind: Config
current-context: work
clusters:
- name: near
  cluster: {server: "https://near:6443/", certificate-authority: pki/ca.crt}
- name: far
  cluster: {server: "https://far/k8s/clusters/c-1", insecure-skip-tls-verify: true, tls-server-name: kubernetes}
users:
- name: alice
  user: {token: secret-a, client-certificate: alice.crt, client-key: /keys/alice.key}
- name: bob
  user: {tokenFile: run/token, username: bob, password: secret-b}
contexts:
- name: work
  context: {cluster: near, user: alice, namespace: models}
- name: play
  context: {cluster: far, user: bob}
- name: nobody
  context: {cluster: near}
)";

class KubeconfigTest : public testing::Test {
 protected:
  KubeconfigTest() {
    std::string pattern = testing::TempDir() + "kubeconfig-XXXXXX";
    folder_ = mkdtemp(pattern.data());
  }
  ~KubeconfigTest() override { std::filesystem::remove_all(folder_); }

  std::string Write(const std::string& text, const std::string& name = "config") {
    const std::string path = folder_ + "/" + name;
    std::filesystem::create_directories(std::filesystem::path(path).parent_path());
    std::ofstream(path) << text;
    return path;
  }

  std::string folder_;
};

TEST_F(KubeconfigTest, TheCurrentContextSaysWhereAndWho) {
  const std::string file = Write(kWhole);
  const auto access = LoadKubeconfig(file);
  ASSERT_TRUE(access.ok()) << access.status();
  EXPECT_EQ(access->server, "https://near:6443") << "no slash at the end";
  EXPECT_EQ(access->ca_file, folder_ + "/pki/ca.crt") << "relative to the file";
  EXPECT_EQ(access->token, "secret-a");
  EXPECT_EQ(access->client_certificate_file, folder_ + "/alice.crt");
  EXPECT_EQ(access->client_key_file, "/keys/alice.key");
  EXPECT_EQ(access->namespace_name, "models");
  EXPECT_FALSE(access->insecure_skip_tls_verify);
  EXPECT_EQ(access->source, StrCat("kubeconfig ", file, ", context work"));
}

TEST_F(KubeconfigTest, AnotherContextCanBeAskedFor) {
  const auto access = LoadKubeconfig(Write(kWhole), "play");
  ASSERT_TRUE(access.ok()) << access.status();
  EXPECT_EQ(access->server, "https://far/k8s/clusters/c-1");
  EXPECT_TRUE(access->insecure_skip_tls_verify);
  EXPECT_EQ(access->tls_server_name, "kubernetes");
  EXPECT_EQ(access->token, "");
  EXPECT_EQ(access->token_file, folder_ + "/run/token");
  EXPECT_EQ(access->username, "bob");
  EXPECT_EQ(access->password, "secret-b");
  EXPECT_EQ(access->namespace_name, "default");
}

TEST_F(KubeconfigTest, AContextWithoutAUserIsAnonymous) {
  const auto access = LoadKubeconfig(Write(kWhole), "nobody");
  ASSERT_TRUE(access.ok()) << access.status();
  EXPECT_EQ(access->token + access->token_file + access->username + access->client_certificate_file, "");
  EXPECT_FALSE(access->exec.has_value());
}

TEST_F(KubeconfigTest, DataWinsOverAFileOfTheSamePurpose) {
  const auto data = [](const std::string& text) { return absl::Base64Escape(text); };
  const auto access = LoadKubeconfig(Write(StrCat(
      "current-context: c\nclusters: [{name: c, cluster: {server: 'https://x', certificate-authority: ca.crt, "
      "certificate-authority-data: ",
      data("CA"), "}}]\nusers: [{name: u, user: {client-certificate: c.crt, client-certificate-data: ", data("CERT"),
      ", client-key: c.key, client-key-data: \"", data("A KEY OVER").substr(0, 8), "\n    ",
      data("A KEY OVER").substr(8), "\"}}]\ncontexts: [{name: c, context: {cluster: c, user: u}}]\n")));
  ASSERT_TRUE(access.ok()) << access.status();
  EXPECT_EQ(access->ca_pem, "CA");
  EXPECT_EQ(access->client_certificate_pem, "CERT");
  EXPECT_EQ(access->client_key_pem, "A KEY OVER") << "line breaks in base64 are none of its";
  EXPECT_EQ(access->ca_file + access->client_certificate_file + access->client_key_file, "");
}

TEST_F(KubeconfigTest, JsonIsYaml) {
  const auto access = LoadKubeconfig(Write(R"({"current-context": "c", "users": [],
    "clusters": [{"name": "c", "cluster": {"server": "http://127.0.0.1:8001"}}],
    "contexts": [{"name": "c", "context": {"cluster": "c"}}]})"));
  ASSERT_TRUE(access.ok()) << access.status();
  EXPECT_EQ(access->server, "http://127.0.0.1:8001");
}

TEST_F(KubeconfigTest, OfSeveralFilesTheFirstWinsByNameAndPathsAreOfTheirOwnFile) {
  const std::string first = Write("users: [{name: alice, user: {tokenFile: token}}]\n", "a/config");
  const std::string second = Write(kWhole, "b/config");
  const std::string third = Write("current-context: play\n", "c/config");
  const auto access = LoadKubeconfig(StrCat(first, ":", folder_, "/none:", second, "::", third));
  ASSERT_TRUE(access.ok()) << access.status();
  EXPECT_EQ(access->server, "https://near:6443") << "current-context is of the first that sets one";
  EXPECT_EQ(access->token, "") << "alice is the first file's";
  EXPECT_EQ(access->token_file, folder_ + "/a/token");
  EXPECT_EQ(access->ca_file, folder_ + "/b/pki/ca.crt");
}

TEST_F(KubeconfigTest, ACredentialPluginIsTakenWhole) {
  const auto access = LoadKubeconfig(Write(R"(current-context: c
clusters: [{name: c, cluster: {server: "https://x"}}]
contexts: [{name: c, context: {cluster: c, user: u}}]
users:
- name: u
  user:
    exec:
      apiVersion: client.authentication.k8s.io/v1beta1
      command: bin/token
      args: [--for, x]
      env: [{name: REGION, value: north}]
      installHint: get it from example.com
      provideClusterInfo: true
)"));
  ASSERT_TRUE(access.ok()) << access.status();
  ASSERT_TRUE(access->exec.has_value());
  EXPECT_EQ(access->exec->api_version, "client.authentication.k8s.io/v1beta1");
  EXPECT_EQ(access->exec->command, folder_ + "/bin/token");
  EXPECT_THAT(access->exec->args, ElementsAre("--for", "x"));
  EXPECT_THAT(access->exec->env, ElementsAre(Pair("REGION", "north")));
  EXPECT_EQ(access->exec->install_hint, "get it from example.com");
  EXPECT_TRUE(access->exec->provide_cluster_info);
}

TEST_F(KubeconfigTest, NoFileIsNotFound) {
  const auto access = LoadKubeconfig(folder_ + "/none");
  EXPECT_TRUE(absl::IsNotFound(access.status())) << access.status();
  EXPECT_THAT(std::string(access.status().message()), HasSubstr(folder_ + "/none"));
  const auto several = LoadKubeconfig(StrCat(folder_, "/none:", folder_, "/neither"));
  EXPECT_TRUE(absl::IsNotFound(several.status())) << several.status();
  EXPECT_THAT(std::string(several.status().message()), HasSubstr("set KUBECONFIG"));
}

struct Broken {
  const char* name;
  const char* from;  // of kWhole
  const char* to;
  const char* says;
};
void PrintTo(const Broken& broken, std::ostream* out) { *out << broken.name; }

class BrokenKubeconfigTest : public KubeconfigTest, public testing::WithParamInterface<Broken> {};

TEST_P(BrokenKubeconfigTest, IsRefusedWithTheFileAndTheReasonAndNoSecret) {
  std::string text = kWhole;
  const size_t at = text.find(GetParam().from);
  ASSERT_NE(at, std::string::npos);
  text.replace(at, std::string_view(GetParam().from).size(), GetParam().to);
  const std::string file = Write(text);
  const auto access = LoadKubeconfig(file);
  ASSERT_TRUE(absl::IsInvalidArgument(access.status())) << access.status();
  const std::string message(access.status().message());
  EXPECT_THAT(message, HasSubstr(file));
  EXPECT_THAT(message, HasSubstr(GetParam().says));
  EXPECT_EQ(message.find("secret"), std::string::npos) << message;
}

constexpr char kAlice[] = "{token: secret-a, client-certificate: alice.crt, client-key: /keys/alice.key}";
constexpr char kNear[] = R"({server: "https://near:6443/", certificate-authority: pki/ca.crt})";
INSTANTIATE_TEST_SUITE_P(
    Table, BrokenKubeconfigTest,
    testing::Values(
        Broken{"NotYaml", "clusters:", "clusters: [", "not a kubeconfig"},
        Broken{"NotAMap", kWhole, "- a\n- b\n", "the top is not a map"},
        Broken{"NoCurrentContext", "current-context: work\n", "", "kubectl config use-context"},
        Broken{"NoSuchContext", "current-context: work", "current-context: home",
               "no context 'home'; there are: nobody, play, work"},
        Broken{"NoContexts", "contexts:", "texts:", "there are: none"},
        Broken{"NoSuchUser", "user: alice", "user: carol", "names the user 'carol', which is not there"},
        Broken{"NoSuchCluster", "cluster: near, user", "cluster: moon, user",
               "names the cluster 'moon', which is not there"},
        Broken{"NoServer", kNear, "{certificate-authority: pki/ca.crt}", "server '' is not an http(s):// address"},
        Broken{"ServerWithoutScheme", "https://near:6443/", "near:6443",
               "server 'near:6443' is not an http(s):// address"},
        Broken{"Proxy", kNear, "{server: 'https://near', proxy-url: 'socks5://p'}", "proxy-url is not supported"},
        Broken{"SkippedAndVerified", kNear,
               "{server: 'https://near', insecure-skip-tls-verify: true, certificate-authority: ca}", "remove one"},
        Broken{"CaThatIsNotBase64", kNear, "{server: 'https://near', certificate-authority-data: '%%'}",
               "certificate-authority-data is not base64"},
        Broken{"KeyThatIsNotBase64", kAlice, "{client-certificate: c, client-key-data: '%secret%'}",
               "client-key-data is not base64"},
        Broken{"CertificateWithoutKey", kAlice, "{client-certificate: alice.crt}", "only one is given"},
        Broken{"KeyWithoutCertificate", kAlice, "{client-key: alice.key}", "only one is given"},
        Broken{"AuthProvider", kAlice, "{auth-provider: {name: gcp}}", "was removed from Kubernetes 1.26: use exec"},
        Broken{"ExecWithoutCommand", kAlice, "{exec: {apiVersion: client.authentication.k8s.io/v1}}",
               "command is missing"},
        Broken{"ExecOfAnOldVersion", kAlice, "{exec: {apiVersion: client.authentication.k8s.io/v1alpha1, command: x}}",
               "'client.authentication.k8s.io/v1alpha1' is not spoken: use client.authentication.k8s.io/v1"},
        Broken{"ExecWithoutVersion", kAlice, "{exec: {command: x}}", "apiVersion '' is not spoken"}),
    [](const auto& info) { return std::string(info.param.name); });

class PodsAccountTest : public KubeconfigTest {
 protected:
  GetEnvironment Environment(const char* host) {
    return [host](const char* name) -> const char* {
      if (std::string_view(name) == "KUBERNETES_SERVICE_HOST") return host;
      return std::string_view(name) == "KUBERNETES_SERVICE_PORT" ? "443" : nullptr;
    };
  }
};

TEST_F(PodsAccountTest, APodsServiceAccount) {
  Write("token", "token");
  Write("models\n", "namespace");
  const auto access = LoadInCluster(folder_, Environment("10.96.0.1"));
  ASSERT_TRUE(access.ok()) << access.status();
  EXPECT_EQ(access->server, "https://10.96.0.1:443");
  EXPECT_EQ(access->token_file, folder_ + "/token");
  EXPECT_EQ(access->ca_file, folder_ + "/ca.crt");
  EXPECT_EQ(access->namespace_name, "models");
  EXPECT_EQ(LoadInCluster(folder_, Environment("fd00::1"))->server, "https://[fd00::1]:443");
}

TEST_F(PodsAccountTest, WhatIsMissingIsSaid) {
  EXPECT_THAT(std::string(LoadInCluster(folder_, Environment("10.96.0.1")).status().message()),
              HasSubstr("automountServiceAccountToken"));
  EXPECT_THAT(std::string(LoadInCluster(folder_, Environment(nullptr)).status().message()), HasSubstr("not in a pod"));
}

TEST_F(KubeconfigTest, WithoutASettingItIsThePodsThenTheHomesElseSaid) {
  const std::string home = folder_;
  const auto environment = [&home](const char* name) -> const char* {
    return std::string_view(name) == "HOME" ? home.c_str() : nullptr;
  };
  EXPECT_THAT(std::string(LoadAccess("", environment).status().message()), HasSubstr("no ~/.kube/config"));
  Write(kWhole, ".kube/config");
  EXPECT_EQ(LoadAccess("", environment)->server, "https://near:6443");
  const std::string other = Write("current-context: play\n", "other");
  EXPECT_THAT(std::string(LoadAccess(other, environment).status().message()), HasSubstr("no context 'play'"));
}

}  // namespace
}  // namespace patella::kube
