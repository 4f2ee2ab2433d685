// Objects as the API server returns them, and the bodies that go back to it.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "lib/api/parse.h"
#include "lib/api/print.h"

namespace patella::api {
namespace {

using ::testing::HasSubstr;

constexpr char kStored[] = R"({"apiVersion":"patella.dev/v1alpha1","kind":"InferenceDeployment","metadata":{
  "name":"demo","namespace":"models","uid":"u-1","resourceVersion":"77","generation":3,"creationTimestamp":"2026-03-01T12:00:00Z",
  "finalizers":["patella.dev/children"],"labels":{"team":"search"},
  "managedFields":[{"manager":"kubectl","operation":"Apply","fieldsV1":{"f:spec":{".":{},"f:model":{"f:name":{}}}}}]},
  "spec":{"model":{"name":"m","uri":"pvc://a/b"},"engine":{"type":"Patella"},"replicas":3,"addedInALaterVersion":{"x":[1,2]},
    "pod":{"tolerations":[{"operator":"Exists"}],"resources":{"limits":{"cpu":8,"memory":"32Gi"}}}},
  "status":{"observedGeneration":2,"replicas":3,"selector":"a=b","addedInALaterVersion":1,
    "revisions":[{"hash":"1a2b3c4d","role":"Serving","acceleratorClass":"a100-40g","tensorParallelSize":1,"replicas":3,"readyReplicas":2,
      "limit":76,"boundBy":"TimePerOutputToken","confidence":"High","calibratedAt":"2026-03-01T12:05:00Z"}],
    "live":{"tokensPerSecond":"5310","inFlight":0},
    "conditions":[{"type":"Ready","status":"True","lastTransitionTime":"2026-03-01T12:05:00Z","reason":"Serving","message":""}]}})";

TEST(StoredTest, SpecStatusAndMetadataAreRead) {
  const auto d = ParseStored<InferenceDeployment>(kStored);
  ASSERT_TRUE(d.ok()) << d.status();
  EXPECT_EQ(d->metadata.uid, "u-1");
  EXPECT_EQ(d->metadata.resource_version, "77");
  EXPECT_EQ(d->metadata.generation, 3);
  EXPECT_EQ(d->metadata.finalizers, std::vector<std::string>{"patella.dev/children"});
  EXPECT_EQ(d->spec.replicas, 3);
  EXPECT_EQ(d->spec.pod.tolerations, R"([{"operator":"Exists"}])");
  EXPECT_EQ(d->spec.pod.resources, R"({"limits":{"cpu":8,"memory":"32Gi"}})");
  EXPECT_EQ(d->status.observed_generation, 2);
  ASSERT_EQ(d->status.revisions.size(), 1u);
  EXPECT_EQ(d->status.revisions[0].role, RevisionRole::kServing);
  EXPECT_EQ(d->status.revisions[0].limit, 76);
  EXPECT_EQ(d->status.live.tokens_per_second, "5310");
  EXPECT_EQ(d->status.live.in_flight, 0);
  ASSERT_EQ(d->status.conditions.size(), 1u);
  EXPECT_EQ(d->status.conditions[0].status, ConditionStatus::kTrue);
}

TEST(StoredTest, ABrokenStatusStopsNobody) {
  const auto d = ParseStored<InferenceDeployment>(
      R"({"apiVersion":"patella.dev/v1alpha1","kind":"InferenceDeployment","metadata":{"name":"a"},
          "spec":{"model":{"name":"m","uri":"file://m"}},"status":{"replicas":"many","selector":"a=b","revisions":7}})");
  ASSERT_TRUE(d.ok()) << d.status();
  EXPECT_FALSE(d->status.replicas);
  EXPECT_EQ(d->status.selector, "a=b");
  EXPECT_TRUE(d->status.revisions.empty());
}

TEST(StoredTest, AnInvalidSpecIsToldWithItsPath) {
  const auto refused = [](const std::string& spec) {
    const auto d = ParseStored<InferenceDeployment>(
        R"({"apiVersion":"patella.dev/v1alpha1","kind":"InferenceDeployment","metadata":{"name":"a"},"spec":)" + spec +
        "}");
    return std::string(d.status().message());
  };
  EXPECT_EQ(refused(R"({"model":{"name":"m","uri":"file://m"},"replicas":-1})"),
            "spec.replicas: expected a whole number from 0 to 1000, found -1");
  EXPECT_EQ(refused(R"({"model":{"name":"m","uri":"file://m"},"scaling":{"minReplicas":9}})"),
            "spec.scaling.minReplicas: must be at most maxReplicas, which is 8 unless set");
  EXPECT_THAT(refused(R"({"model":)"), HasSubstr("not JSON"));
  EXPECT_THAT(refused(std::string(300, '[')), HasSubstr("not JSON"));
}

TEST(StoredTest, AnApplyOfStatusHoldsOnlyWhatIsSet) {
  InferenceDeploymentStatus status;
  EXPECT_EQ(
      PrintStatusApply({.name = "demo", .namespace_name = "models"}, status),
      R"({"apiVersion":"patella.dev/v1alpha1","kind":"InferenceDeployment","metadata":{"name":"demo","namespace":"models"},"status":{}})");
  RevisionStatus revision;
  revision.hash = "1a2b3c4d";
  revision.limit = 0;
  revision.bound_by = "KvCapacity";
  status.revisions.push_back(revision);
  status.decisions.push_back({.time = "2026-03-01T12:00:00Z", .what = "limit", .reason = "he said \"no\"\n"});
  status.conditions.push_back({.type = "Tuned",
                               .status = ConditionStatus::kFalse,
                               .last_transition_time = "2026-03-01T12:00:00Z",
                               .reason = "Calibrating"});
  EXPECT_EQ(
      PrintJson(status),
      R"({"revisions":[{"hash":"1a2b3c4d","limit":0,"boundBy":"KvCapacity"}],)"
      R"("decisions":[{"time":"2026-03-01T12:00:00Z","what":"limit","reason":"he said \"no\"\n"}],)"
      R"("conditions":[{"type":"Tuned","status":"False","lastTransitionTime":"2026-03-01T12:00:00Z","reason":"Calibrating","message":""}]})");
}

TEST(StoredTest, AStatusThatSaysTooMuchIsCutRatherThanRefused) {
  InferenceDeploymentStatus status;
  std::string reason = std::string(511, 'a') + "é";
  for (int i = 0; i < 12; ++i)
    status.decisions.push_back({.time = "2026-03-01T12:00:00Z", .what = "limit", .reason = reason});
  ASSERT_THAT(PrintJson(status), HasSubstr("aé\""));  // 512 characters fit
  status.decisions[0].reason += "é";
  const auto stored = ParseStored<InferenceDeployment>(
      R"({"apiVersion":"patella.dev/v1alpha1","kind":"InferenceDeployment","metadata":{"name":"a"},
          "spec":{"model":{"name":"m","uri":"file://m"}},"status":)" +
      PrintJson(status) + "}");
  ASSERT_TRUE(stored.ok()) << stored.status();
  ASSERT_EQ(stored->status.decisions.size(), 10u);
  EXPECT_EQ(stored->status.decisions[0].reason, std::string(511, 'a') + "…");
  EXPECT_EQ(stored->status.decisions[1].reason, reason);
}

TEST(StoredTest, FiguresBecomeDecimalsThatTheSchemaTakes) {
  EXPECT_EQ(ToDecimal(44.06, 1), "44.1");
  EXPECT_EQ(ToDecimal(5310, 0), "5310");
  EXPECT_EQ(ToDecimal(1e300, 3), "999999999.000");
  EXPECT_EQ(ToDecimal(-1, 1), "");
  EXPECT_EQ(ToDecimal(std::nan(""), 1), "");
}

TEST(StoredTest, PartsOfKubernetesReachTheServerAsTheyWereWritten) {
  const auto parsed = Parse(R"(apiVersion: patella.dev/v1alpha1
kind: InferenceDeployment
metadata: {name: demo}
spec:
  model: {name: m, uri: file://m}
  pod:
    tolerations:
      - key: "true"   # text, not a truth value
        operator: Equal
        value: "1"
        tolerationSeconds: 60
    volumes:
      - name: shm
        emptyDir: {medium: Memory, sizeLimit: 1.5Gi}
)",
                            "demo.yaml");
  ASSERT_TRUE(parsed.ok()) << parsed.status();
  const PodSpec& pod = std::get<InferenceDeployment>(parsed->front()).spec.pod;
  EXPECT_EQ(pod.tolerations, R"([{"key":"true","operator":"Equal","value":"1","tolerationSeconds":60}])");
  EXPECT_EQ(pod.volumes, R"([{"name":"shm","emptyDir":{"medium":"Memory","sizeLimit":"1.5Gi"}}])");
}

TEST(StoredTest, AliasesCannotMakeAnObjectExplode) {
  std::string bomb = "a: &a [x, x, x, x, x, x, x, x, x, x]\n";
  for (char c = 'b'; c < 'k'; ++c) {
    const char before = static_cast<char>(c - 1);
    bomb += std::string(1, c) + ": &" + c + " [";
    for (int i = 0; i < 10; ++i) bomb += std::string(i ? ", *" : "*") + before;
    bomb += "]\n";
  }
  EXPECT_THAT(std::string(Parse(bomb, "bomb.yaml").status().message()), HasSubstr("too large"));
}

}  // namespace
}  // namespace patella::api
