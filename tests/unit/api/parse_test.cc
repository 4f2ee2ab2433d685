#include "lib/api/parse.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "lib/api/print.h"

namespace patella::api {
namespace {

using ::testing::HasSubstr;

std::string WithSpec(const std::string& spec) {
  return "apiVersion: patella.dev/v1alpha1\nkind: InferenceDeployment\nmetadata: {name: demo}\nspec:\n  model: {name: "
         "m, uri: file://m.gguf}\n" +
         spec;
}

std::string ErrorOf(const std::string& text) {
  const auto parsed = Parse(text, "demo.yaml");
  return parsed.ok() ? "" : std::string(parsed.status().message());
}

InferenceDeployment Only(const std::string& text) {
  const auto parsed = Parse(text, "demo.yaml");
  EXPECT_TRUE(parsed.ok()) << parsed.status();
  return parsed.ok() ? std::get<InferenceDeployment>(parsed->front()) : InferenceDeployment{};
}

constexpr char kFull[] = R"(apiVersion: patella.dev/v1alpha1
kind: InferenceDeployment
metadata:
  name: llama-2-7b
  namespace: models
  labels: {team: search}
spec:
  model:
    name: meta-llama/Llama-2-7b
    uri: hf://meta-llama/Llama-2-7b
    tokenSecretRef: {name: hf, key: token}
    shape: {layers: 32, kvHeads: 32}
  engine:
    type: VLLM
    image: registry.example/vllm:1
    args: [--dtype, bfloat16]
    env: [{name: HF_HOME, value: /models}]
  hardware:
    acceleratorClasses: [a10g, a100-40g]
    maxAcceleratorsPerReplica: 8
    maxAccelerators: 16
  tensorParallelSize: 4
  workload: {inputTokens: 512, outputTokens: 128}
  objectives:
    prefer: Latency
    latency:
      - {metric: TimePerOutputToken, quantile: "0.90", targetMs: 50}
      - {metric: TimeToFirstToken, quantile: "0.95", targetMs: 500}
    throughput: {minTokensPerSecond: 2000}
    cost: {maxPerHour: "40.00", maxPerMillionTokens: "2.50"}
    knee: {definition: Utilization, utilization: "0.7"}
  tuning: {mode: Advise, maxCalibrationSeconds: 60, explore: {enabled: false, maxSecondsPerTrial: 300, provisionNodes: true}}
  scaling: {mode: External, minReplicas: 2, maxReplicas: 4, scaleDownStabilizationSeconds: 60}
  admission: {queue: {maxRequests: 8, maxWaitMs: 500}, overflow: Reject}
  drain: {maxSeconds: 30}
  updatePolicy: Auto
  paused: true
  pod:
    labels: {a: b}
    nodeSelector: {disk: "true"}
    tolerations: [{key: gpu, operator: Exists}]
    priorityClassName: high
    resources: {limits: {memory: 1Gi}}
  maxConcurrentRequests: 64
  replicas: 3
)";

TEST(ParseTest, EveryFieldIsRead) {
  const InferenceDeployment d = Only(kFull);
  EXPECT_EQ(d.metadata.namespace_name, "models");
  EXPECT_EQ(d.spec.model.token_secret_ref->key, "token");
  EXPECT_EQ(d.spec.model.shape.layers, 32);
  EXPECT_EQ(d.spec.engine.type, EngineType::kVllm);
  EXPECT_EQ(d.spec.hardware.accelerator_classes.size(), 2u);
  ASSERT_EQ(d.spec.objectives.latency.size(), 2u);
  EXPECT_EQ(d.spec.objectives.latency[1].metric, LatencyMetric::kTimeToFirstToken);
  EXPECT_EQ(d.spec.objectives.latency[1].quantile, "0.95");
  EXPECT_EQ(d.spec.tuning.mode, TuningMode::kAdvise);
  EXPECT_EQ(d.spec.scaling.max_replicas, 4);
  EXPECT_EQ(d.spec.admission.overflow, Overflow::kReject);
  EXPECT_EQ(d.spec.pod.node_selector.at("disk"), "true");
  EXPECT_EQ(d.spec.max_concurrent_requests, 64);
}

TEST(ParseTest, WhatIsPrintedParsesToTheSameValue) {
  for (const std::string& text : {std::string(kFull), WithSpec("")}) {
    const InferenceDeployment once = Only(text);
    const std::string printed = Print(once);
    EXPECT_EQ(Only(printed), once) << printed;
    EXPECT_EQ(Print(Only(printed)), printed);
  }
}

TEST(ParseTest, DefaultsAreThoseOfTheDesign) {
  const InferenceDeploymentSpec spec = Only(WithSpec("")).spec;
  EXPECT_EQ(spec.replicas, 1);
  EXPECT_EQ(spec.workload.input_tokens, 256);
  EXPECT_EQ(spec.tuning.max_calibration_seconds, 90);
  EXPECT_EQ(spec.scaling.max_replicas, 8);
  EXPECT_EQ(spec.objectives.prefer, Prefer::kCost);
  EXPECT_FALSE(spec.tensor_parallel_size);
}

TEST(ParseTest, JsonIsTakenToo) {
  const auto d = Only(R"({"apiVersion":"patella.dev/v1alpha1","kind":"InferenceDeployment","metadata":{"name":"demo"},
    "spec":{"model":{"name":"m","uri":"file://m.gguf"},"replicas":2,"paused":false}})");
  EXPECT_EQ(d.spec.replicas, 2);
}

TEST(ParseTest, SeveralDocumentsAreSeveralObjects) {
  const auto parsed = Parse(WithSpec("") + R"(---
apiVersion: patella.dev/v1alpha1
kind: AcceleratorClass
metadata: {name: a10g}
spec: {memoryGiB: 24, memoryBandwidthGBps: 600, fp16TFLOPS: 70, pricePerNodeHour: "1.006"}
---
)",
                            "two.yaml");
  ASSERT_TRUE(parsed.ok()) << parsed.status();
  ASSERT_EQ(parsed->size(), 2u);
  const auto& accelerator = std::get<AcceleratorClass>(parsed->at(1));
  EXPECT_EQ(accelerator.memory_gib, 24);
  const auto again = Parse(Print(accelerator), "printed");
  ASSERT_TRUE(again.ok()) << again.status();
  EXPECT_EQ(std::get<AcceleratorClass>(again->front()), accelerator);
}

TEST(ParseTest, WhatAClusterAddsIsIgnored) {
  EXPECT_EQ(
      ErrorOf(
          "apiVersion: patella.dev/v1alpha1\nkind: InferenceDeployment\nmetadata: {name: demo, uid: x, generation: 3}\n"
          "spec:\n  model: {name: m, uri: file://m.gguf}\nstatus: {anything: 1}\n"),
      "");
}

TEST(ParseTest, ASampleOfTheRepositoryIsValid) {
  const auto sample = ParseOneDeployment(PATELLA_DEPLOY "/samples/smollm2.yaml");
  ASSERT_TRUE(sample.ok()) << sample.status();
  EXPECT_EQ(sample->metadata.name, "smollm2");
}

struct Invalid {
  std::string spec;
  std::string message;
};

class InvalidSpecTest : public ::testing::TestWithParam<Invalid> {};

TEST_P(InvalidSpecTest, IsRefusedWithPathLineAndRemedy) {
  EXPECT_EQ(ErrorOf(WithSpec(GetParam().spec)), GetParam().message);
}

INSTANTIATE_TEST_SUITE_P(
    Table, InvalidSpecTest,
    ::testing::Values(
        Invalid{"  objectives:\n    latency:\n      - {metric: TimePerOutputToken, targetMs: fast}\n",
                "spec.objectives.latency[0].targetMs: expected a whole number of milliseconds from 1 to 3600000, found "
                "\"fast\" (demo.yaml:8)"},
        Invalid{"  objectives:\n    latency:\n      - {metric: TimePerOutputToken, targetMs: 0}\n",
                "spec.objectives.latency[0].targetMs: expected a whole number of milliseconds from 1 to 3600000, found "
                "0 (demo.yaml:8)"},
        Invalid{"  objectives:\n    latency:\n      - {metric: TimePerOutputTokens, targetMs: 5}\n",
                "spec.objectives.latency[0].metric: expected TimePerOutputToken, TimeToFirstToken or EndToEnd, found "
                "\"TimePerOutputTokens\"; "
                "did you mean TimePerOutputToken? (demo.yaml:8)"},
        Invalid{"  objectives:\n    latency:\n      - {metric: EndToEnd, quantile: 0.9, targetMs: 5}\n",
                "spec.objectives.latency[0].quantile: expected a decimal in quotes such as \"0.90\" between 0 and 1, "
                "found 0.9 "
                "(demo.yaml:8)"},
        Invalid{"  objectives:\n    latency:\n      - {metric: EndToEnd, quantile: \"1.0\", targetMs: 5}\n",
                "spec.objectives.latency[0].quantile: expected a decimal in quotes such as \"0.90\" between 0 and 1, "
                "found \"1.0\" (demo.yaml:8)"},
        Invalid{"  objectives:\n    latency:\n      - {metric: EndToEnd}\n",
                "spec.objectives.latency[0].targetMs: is missing (demo.yaml:8)"},
        Invalid{"  objectivs: {}\n", "spec.objectivs: unknown field; did you mean objectives? (demo.yaml:6)"},
        Invalid{"  scaling: {replicasMax: 2}\n",
                "spec.scaling.replicasMax: unknown field; the fields here are mode, minReplicas, maxReplicas, "
                "scaleDownStabilizationSeconds "
                "(demo.yaml:6)"},
        Invalid{"  replicas: two\n",
                "spec.replicas: expected a whole number from 0 to 1000, found \"two\" (demo.yaml:6)"},
        Invalid{"  replicas: \"2\"\n",
                "spec.replicas: expected a whole number from 0 to 1000, found \"2\" (demo.yaml:6)"},
        Invalid{"  replicas: 2.5\n", "spec.replicas: expected a whole number from 0 to 1000, found 2.5 (demo.yaml:6)"},
        Invalid{"  replicas: 2\n  replicas: 3\n", "spec.replicas: is given twice (demo.yaml:7)"},
        Invalid{"  paused: 1\n", "spec.paused: expected true or false, found 1 (demo.yaml:6)"},
        Invalid{"  workload: [1, 2]\n", "spec.workload: expected a map of fields, found a list (demo.yaml:6)"},
        Invalid{"  engine: {image: 12}\n",
                "spec.engine.image: expected text; put it in quotes: \"12\", found 12 (demo.yaml:6)"},
        Invalid{"  engine: {type: vLLM}\n",
                "spec.engine.type: expected Patella, VLLM, TGI or OpenAI, found \"vLLM\"; did you mean VLLM? "
                "(demo.yaml:6)"},
        Invalid{"  scaling: {minReplicas: 9}\n",
                "spec.scaling.minReplicas: must be at most maxReplicas, which is 8 unless set (demo.yaml:6)"},
        Invalid{"  admission: {queue: {maxRequests: 4}}\n",
                "spec.admission.queue.maxWaitMs: must be at least 1 when maxRequests is: a queue needs a deadline "
                "(demo.yaml:6)"},
        Invalid{"  tuning: {mode: \"Off\"}\n",
                "spec.maxConcurrentRequests: is needed with tuning.mode: Off, because nothing else sets the limit "
                "(demo.yaml:5)"},
        Invalid{"  tensorParallelSize: 4\n  hardware: {maxAccelerators: 2}\n",
                "spec.tensorParallelSize: must be at most hardware.maxAccelerators (demo.yaml:6)"},
        Invalid{"  objectives:\n    knee: {definition: Kleinrock, utilization: \"0.7\"}\n",
                "spec.objectives.knee.utilization: is only used with definition: Utilization: remove it (demo.yaml:7)"},
        Invalid{"  objectives:\n    latency:\n      - {metric: EndToEnd, targetMs: 5}\n      - {metric: "
                "TimeToFirstToken, targetMs: 9}\n",
                "spec.objectives.latency[0].targetMs: EndToEnd includes TimeToFirstToken, so its target must not be "
                "the smaller "
                "(demo.yaml:8)"}));

TEST(ParseTest, AllErrorsAreReportedAtOnce) {
  EXPECT_EQ(
      ErrorOf(WithSpec("  replicas: x\n  paused: maybe\n")),
      "spec.paused: expected true or false, found \"maybe\" (demo.yaml:7)\nspec.replicas: expected a whole number "
      "from 0 to 1000, found \"x\" "
      "(demo.yaml:6)");
}

TEST(ParseTest, WrongHeadsAreRefused) {
  EXPECT_THAT(ErrorOf("apiVersion: patella.dev/v1\nkind: InferenceDeployment\n"),
              HasSubstr("apiVersion: expected patella.dev/v1alpha1, found \"patella.dev/v1\" (demo.yaml:1)"));
  EXPECT_THAT(ErrorOf("apiVersion: patella.dev/v1alpha1\nkind: InferenceDeploymnt\n"),
              HasSubstr("did you mean InferenceDeployment?"));
  EXPECT_THAT(ErrorOf("a: [1\n"), HasSubstr("not YAML"));
  EXPECT_THAT(ErrorOf(""), HasSubstr("holds no object"));
  EXPECT_THAT(ErrorOf("just text"), HasSubstr("expected a map of fields, found \"just text\""));
  EXPECT_THAT(ErrorOf("apiVersion: patella.dev/v1alpha1\nkind: InferenceDeployment\nmetadata: {name: Big_Name}\nspec: "
                      "{model: {name: m, uri: m.gguf}}"),
              HasSubstr("spec.model.uri: expected pvc://"));
}

TEST(ParseTest, HfNeedsAnEngineThatDownloads) {
  EXPECT_THAT(ErrorOf("apiVersion: patella.dev/v1alpha1\nkind: InferenceDeployment\nmetadata: {name: a}\nspec: {model: "
                      "{name: m, uri: hf://a/b}}"),
              HasSubstr("spec.model.uri: hf:// needs an engine that downloads models itself"));
}

TEST(ParseFileTest, AMissingFileIsNamed) {
  EXPECT_THAT(std::string(ParseOneDeployment("/nonexistent/x.yaml").status().message()),
              HasSubstr("/nonexistent/x.yaml: cannot be opened"));
}

}  // namespace
}  // namespace patella::api
