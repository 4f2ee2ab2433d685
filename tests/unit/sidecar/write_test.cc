#include "sidecar/cluster/write.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "lib/kube/memory_client.h"

namespace patella::sidecar {
namespace {

using testing::ElementsAre;
using testing::IsEmpty;

constexpr char kObject[] =
    R"({"apiVersion":"patella.dev/v1alpha1","kind":"InferenceDeployment","metadata":{"name":"m","namespace":"n"},
        "spec":{"replicas":1,"scaling":{"mode":"Auto","minReplicas":1,"maxReplicas":8}}})";

// An overloaded replica, a round every 2 s of virtual time, and a store in memory.
class WriteTest : public testing::Test {
 protected:
  WriteTest() {
    EXPECT_TRUE(client_.Create(kube::kInferenceDeployments, "n", kObject).ok());
    Watch();
    client_.ClearWrites();
  }
  // What a watch would have told.
  void Watch() {
    object_ = api::InferenceDeployment();
    object_.metadata.name = "m";
    object_.metadata.namespace_name = "n";
    const auto stored = client_.Get(kube::kInferenceDeployments, "n", "m");
    ASSERT_TRUE(stored.ok()) << stored.status();
    object_.metadata.resource_version = std::string((*stored)->resource_version());
    object_.spec.scaling.max_replicas = 8;
    object_.spec.replicas = Replicas();
  }
  int Replicas() {
    const auto scale = client_.GetScale(kube::kInferenceDeployments, "n", "m");
    return scale.ok() ? scale->replicas : -1;
  }
  // The next round that wants another number of replicas, not yet written.
  Publication Wanted(int rounds = 60) {
    for (int i = 0; i < rounds; ++i) {
      Publication p = Round();
      if (p.replicas) return p;
      EXPECT_TRUE(WritePublication(client_, object_, p, publisher_).ok());
      if (follow_) Watch();
    }
    return {};
  }
  Publication Round() {
    replica_.admitted_total += 4, replica_.rejected_total += 8;
    now_s_ += 2;
    return publisher_.Publish(object_, {replica_}, {}, now_s_, 1'800'000'000 + static_cast<int64_t>(now_s_));
  }
  // Every call to `subresource` fails so.
  void Fail(const std::string& subresource, absl::Status error) {
    client_.SetHook([=](const kube::MemoryClient::CallInfo& call) {
      return call.subresource == subresource ? error : absl::OkStatus();
    });
  }
  std::vector<std::string> Told(const Publication& p) {
    std::vector<std::string> told;
    for (const api::Decision& d : p.status->decisions) told.push_back(d.from + " to " + d.to);
    return told;
  }

  kube::MemoryClient client_;
  api::InferenceDeployment object_;
  Publisher publisher_;
  PeerReport replica_{.pod = "a", .revision = "aa", .ready = true, .limit = 8, .in_flight = 8};
  bool follow_ = true;
  double now_s_ = 100;
};

TEST_F(WriteTest, ReplicasThatWereWrittenAreADecisionInStatus) {
  const Publication p = Wanted();
  ASSERT_EQ(p.replicas, 2);
  EXPECT_TRUE(WritePublication(client_, object_, p, publisher_).ok());
  EXPECT_EQ(Replicas(), 2);
  Watch();
  const Publication next = Round();
  ASSERT_TRUE(next.status.has_value()) << "a decision does not wait for the period";
  EXPECT_THAT(Told(next), ElementsAre("1 to 2"));
}

TEST_F(WriteTest, AnyErrorOfScaleLeavesStatusWrittenAndIsTriedAgainWithoutAPause) {
  for (const absl::Status& error :
       {absl::PermissionDeniedError("forbidden"), absl::UnavailableError("away"), absl::NotFoundError("gone"),
        absl::DeadlineExceededError("slow"), absl::ResourceExhaustedError("429"), absl::InternalError("500")}) {
    SCOPED_TRACE(error.ToString());
    publisher_ = Publisher();
    Publication p = Wanted();
    ASSERT_EQ(p.replicas, 2);
    if (!p.status) p.status = api::InferenceDeploymentStatus();
    client_.ClearWrites();
    Fail("scale", error);
    EXPECT_EQ(WritePublication(client_, object_, p, publisher_).code(), error.code());
    EXPECT_THAT(client_.Writes(), ElementsAre("apply inferencedeployments.patella.dev/status n/m"));
    client_.SetHook(nullptr);
    EXPECT_EQ(Replicas(), 1);
    Watch();
    now_s_ += Publisher::kPeriod_s;
    const Publication next = Round();
    EXPECT_EQ(next.replicas, 2) << "the pause after a rise is for rises that happened";
    ASSERT_TRUE(next.status.has_value());
    EXPECT_THAT(Told(next), IsEmpty());
  }
}

TEST_F(WriteTest, AnyErrorOfStatusWritesItAgainNextRound) {
  for (const absl::Status& error :
       {absl::PermissionDeniedError("forbidden"), absl::UnavailableError("away"), absl::AbortedError("conflict")}) {
    SCOPED_TRACE(error.ToString());
    publisher_ = Publisher();
    const Publication first = Round();
    ASSERT_TRUE(first.status.has_value());
    Fail("status", error);
    EXPECT_EQ(WritePublication(client_, object_, first, publisher_).code(), error.code());
    client_.SetHook(nullptr);
    EXPECT_TRUE(Round().status.has_value());
  }
}

TEST_F(WriteTest, AStaleObjectScalesNothing) {
  const Publication p = Wanted();
  ASSERT_EQ(p.replicas, 2);
  ASSERT_TRUE(client_.SetScale(kube::kInferenceDeployments, "n", "m", 5, "", {.manager = "kubectl"}).ok());
  EXPECT_TRUE(WritePublication(client_, object_, p, publisher_).ok()) << "no error: the user was first";
  EXPECT_EQ(Replicas(), 5);
  follow_ = false;
  EXPECT_EQ(Round().replicas, 2) << "still not told of the change";
}

}  // namespace
}  // namespace patella::sidecar
