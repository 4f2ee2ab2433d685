// What the operator says before it works, of an API server that is played here. tests/integration asks a real one.
#include "operator/app/preflight.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <map>

#include "lib/api/schema_check.h"

namespace patella::controller {
namespace {

using ::testing::AllOf;
using ::testing::Contains;
using ::testing::ElementsAre;
using ::testing::EndsWith;
using ::testing::HasSubstr;

// Answers by the end of the path; an empty list to all else.
class FakeServer final : public kube::HttpTransport {
 public:
  std::map<std::string, kube::HttpResponse> answers;
  std::vector<std::string> asked;

  absl::StatusOr<kube::HttpResponse> Call(const kube::HttpRequest& request, Duration) override {
    const std::string path = request.path.substr(0, request.path.find('?'));
    asked.push_back(path);
    for (const auto& [end, answer] : answers) {
      if (path.ends_with(end)) return answer;
    }
    return kube::HttpResponse{200, {}, R"({"kind":"List","apiVersion":"v1","metadata":{},"items":[]})"};
  }
  void EndCalls() override {}
  std::unique_ptr<kube::HttpStream> Stream(const kube::HttpRequest&, Duration, kube::StreamCallbacks) override {
    return nullptr;
  }
};

class PreflightTest : public testing::Test {
 protected:
  absl::Status Look() {
    const SteadyClock clock;
    kube::ClusterAccess access;
    access.server = "https://server";
    access.source = "the test";
    kube::RestClient client(&server_, *kube::Credentials::Load(access, clock), clock);
    return Preflight(client, {"models"});
  }
  std::string Message() { return std::string(Look().message()); }
  void HideSchemas() { server_.answers[api::kSchemasPath] = {403, {}, ""}; }

  FakeServer server_;
};

TEST_F(PreflightTest, AServerThatAnswersNothingOfAGroupHasNoDefinitionsOfIt) {
  server_.answers[api::kSchemasPath] = {200, {}, ""};
  EXPECT_THAT(Message(), HasSubstr("inferencedeployments.patella.dev is missing in the cluster"));
}

TEST_F(PreflightTest, DefinitionsThatAreMissingAreNamedWithTheRemedyAndNothingElseIsAsked) {
  server_.answers[api::kSchemasPath] = {404, {}, "404 page not found"};
  const std::string message = Message();
  for (const char* plural : {"inferencedeployments", "acceleratorclasses", "servingcurves"})
    EXPECT_THAT(message, HasSubstr(std::string(plural) + ".patella.dev is missing in the cluster"));
  EXPECT_THAT(message, HasSubstr("kubectl apply --server-side --force-conflicts -f deploy/crds"));
  EXPECT_THAT(server_.asked, ElementsAre(api::kSchemasPath));
}

TEST_F(PreflightTest, AnOlderDefinitionOfAKindThatTheOperatorDoesNotWatchIsNamedToo) {
  server_.answers[api::kSchemasPath] = {
      200, {}, R"({"components":{"schemas":{"dev.patella.v1alpha1.ServingCurve":{"type":"object"}}}})"};
  EXPECT_THAT(Message(), HasSubstr("servingcurves.patella.dev is of an older Patella: it lacks spec"));
}

TEST_F(PreflightTest, AServerThatKeepsItsSchemasToItselfIsAskedForEachKind) {
  HideSchemas();
  EXPECT_EQ(Look(), absl::OkStatus());
  EXPECT_THAT(server_.asked, AllOf(Contains(EndsWith("/namespaces/models/inferencedeployments")),
                                   Contains("/api/v1/nodes"), Contains("/api/v1/namespaces/models/secrets")));
  server_.answers["/acceleratorclasses"] = {404, {}, "404 page not found"};
  EXPECT_THAT(Message(), HasSubstr("does not know acceleratorclasses.patella.dev: install"));
}

TEST_F(PreflightTest, ARightThatIsMissingIsNamedWithTheRules) {
  HideSchemas();
  server_.answers["/nodes"] = {403, {}, ""};
  EXPECT_THAT(Message(), HasSubstr("verb list on nodes"));
  EXPECT_THAT(Message(), HasSubstr("deploy/rbac/operator-rules.yaml"));
}

TEST_F(PreflightTest, AServerThatCannotAnswerIsNotTakenForOneWithoutDefinitions) {
  server_.answers[api::kSchemasPath] = {503, {}, "starting"};
  EXPECT_TRUE(absl::IsUnavailable(Look()));
  server_.answers[api::kSchemasPath] = {401, {}, ""};
  EXPECT_THAT(Message(), HasSubstr("The token or client certificate is not valid"));
}

}  // namespace
}  // namespace patella::controller
