// Whatever happens on the way, the operator ends in the same state.
#include <gtest/gtest.h>

#include <algorithm>
#include <nlohmann/json.hpp>
#include <set>

#include "lib/base/text.h"
#include "tests/unit/operator/world.h"
#include "tests/unit/seed.h"

namespace patella::apply {
namespace {

using nlohmann::json;

json RandomSpec(Random& random) {
  json spec = {{"paused", false},
               {"replicas", random.UniformInt(1, 4)},
               {"maxConcurrentRequests", random.UniformInt(1, 200)},
               {"engine", {{"args", json::array({StrCat("--max-input-tokens=", random.UniformInt(1, 3))})}}},
               {"pod", {{"priorityClassName", random.Uniform() < 0.5 ? "high" : "low"}}}};
  return {{"spec", spec}};
}

void UserActs(World& world) {
  Random& random = world.random;
  const double what = random.Uniform();
  if (what < 0.6) return world.Patch(RandomSpec(random).dump());
  if (what < 0.7) return world.Patch(R"({"spec":{"paused":true}})");
  const auto& kinds = ChildResources();
  const kube::Resource& kind = kinds[static_cast<size_t>(random.UniformInt(0, static_cast<int64_t>(kinds.size()) - 1))];
  const std::vector<std::string> names = world.Names(kind);
  if (names.empty()) return;
  world.Delete(kind, names[static_cast<size_t>(random.UniformInt(0, static_cast<int64_t>(names.size()) - 1))]);
}

// What this spec comes to when nothing goes wrong.
std::string CalmState(const json& spec) {
  World world(Seed(1));
  world.Create();
  world.Patch(spec.dump());
  EXPECT_TRUE(world.Settle());
  return world.State();
}

TEST(ConvergenceTest, AnyOrderDuplicationOrLossOfEventsEndsInTheSameState) {
  for (const uint64_t seed : Seeds(20)) {
    SCOPED_TRACE(Replay(seed));
    World world(seed);
    world.Create();
    world.client.Set([&world](std::string_view, const kube::Resource&) -> FaultyClient::Fault {
      if (world.random.Uniform() > 0.05) return {};
      return {absl::UnavailableError("the API server is away"), world.random.Uniform() < 0.5};
    });
    for (int step = 0; step < 600; ++step) {
      if (world.random.Uniform() < 0.02) UserActs(world);
      if (world.random.Uniform() < 0.002) world.Restart();
      world.Step(/*chaos=*/true);
    }
    const json last = RandomSpec(world.random);
    world.Patch(last.dump());
    world.client.Set(nullptr);
    ASSERT_TRUE(world.Settle()) << "it does not come to rest";
    ASSERT_EQ(world.State(), CalmState(last));
  }
}

TEST(ConvergenceTest, AReadyPodStaysWhileEventsAreOnlyLate) {
  for (const uint64_t seed : Seeds(10)) {
    SCOPED_TRACE(Replay(seed));
    World world(seed);
    world.Create();
    ASSERT_TRUE(world.Settle());
    for (int step = 0; step < 800; ++step) {
      if (world.random.Uniform() < 0.01) world.Patch(RandomSpec(world.random).dump());
      world.Step(/*chaos=*/false);
      ASSERT_GE(world.ReadyPods(), 1) << "step " << step;
    }
  }
}

TEST(ConvergenceTest, OnceAllIsThereNothingIsWritten) {
  for (const char* sample : {"cpu", "gpu", "vllm"}) {
    World world(Seed(1), sample);
    world.Create();
    ASSERT_TRUE(world.Settle());
    world.store.ClearWrites();
    world.Restart();  // remembers nothing
    ASSERT_TRUE(world.Settle());
    EXPECT_EQ(world.store.Writes(), std::vector<std::string>()) << sample;
  }
}

// Within seconds, not with the hourly look.
TEST(ConvergenceTest, PeersCertificatesThatAreDeletedOrChangedAreBackAtOnce) {
  World world(Seed(1));
  world.Create();
  ASSERT_TRUE(world.Settle());
  const std::string name = StrCat(kName, "-peers");
  const auto value = [&](const char* key) {
    const auto live = world.store.Get(kube::kSecrets, kNamespace, name);
    return live.ok() ? json::parse((*live)->json())["data"].value(key, "") : "";
  };
  const std::string first = value("tls.key");
  ASSERT_NE(first, "");
  const auto act = [&] {
    for (int step = 0; step < 200; ++step) world.Step(/*chaos=*/false);
  };
  world.Delete(kube::kSecrets, name);
  act();
  const std::string second = value("tls.key");
  EXPECT_NE(second, "");
  EXPECT_NE(second, first);
  world.store.MergePatch(kube::kSecrets, kNamespace, name, R"({"data":{"tls.key":"eA=="}})").IgnoreError();
  act();
  EXPECT_GT(value("tls.key").size(), 100u);
  EXPECT_NE(value("tls.key"), second);
  const std::string third = value("tls.key");
  world.store
      .MergePatch(kube::kSecrets, kNamespace, name, R"({"metadata":{"labels":{"app.kubernetes.io/managed-by":null}}})")
      .IgnoreError();
  act();
  const auto live = world.store.Get(kube::kSecrets, kNamespace, name);
  ASSERT_TRUE(live.ok());
  EXPECT_EQ((*live)->label(reconcile::kManagedByLabel), reconcile::kManagedBy);
  EXPECT_EQ(value("tls.key"), third);
}

absl::Status Answer(int code, const char* reason, std::vector<kube::ApiErrorCause> causes = {}) {
  return kube::ToStatus({code, reason, "injected", std::move(causes), {}},
                        {"call", "things", "", kNamespace, "x", "test"});
}

// What goes wrong at one call.
struct Mishap {
  const char* name;
  absl::Status error;        // OK: the call itself succeeds
  bool after = false;        // it takes effect, and the answer is lost
  bool deletes_kin = false;  // just before, somebody deletes all children of the kind that the call is about
};

void PrintTo(const Mishap& mishap, std::ostream* out) { *out << mishap.name; }

std::vector<Mishap> Mishaps() {
  return {{"Dropped", kube::ConnectionError(kube::ConnectionFailure::kDropped, "injected"), true},
          {"BadRequest400", Answer(400, "BadRequest")},
          {"Unauthorized401", Answer(401, "Unauthorized")},
          {"Forbidden403", Answer(403, "Forbidden")},
          {"NamespaceTerminating403", Answer(403, "Forbidden", {{"NamespaceTerminating", "injected", ""}})},
          {"NotFound404", Answer(404, "NotFound")},
          {"Conflict409", Answer(409, "Conflict")},
          {"AlreadyExists409", Answer(409, "AlreadyExists")},
          {"Expired410", Answer(410, "Expired")},
          {"TooLarge413", Answer(413, "RequestEntityTooLarge")},
          {"Invalid422", Answer(422, "Invalid")},
          {"TooManyRequests429", Answer(429, "TooManyRequests")},
          {"InternalError500", Answer(500, "InternalError")},
          {"ServiceUnavailable503", Answer(503, "ServiceUnavailable")},
          {"Timeout504", Answer(504, "Timeout"), true},
          {"ChildDeleted", absl::OkStatus(), false, true}};
}

bool Reads(std::string_view verb) { return verb == "list" || verb == "watch"; }

class EachErrorTest : public ::testing::TestWithParam<Mishap> {
 protected:
  // Just before a call about `resource`.
  static void DeleteKin(World& world, const kube::Resource& resource) {
    if (!GetParam().deletes_kin) return;
    const auto& children = ChildResources();
    const bool of_child = std::any_of(children.begin(), children.end(),
                                      [&](const kube::Resource& child) { return child.kind == resource.kind; });
    const kube::Resource& kin = of_child ? resource : kube::kDeployments;
    for (const std::string& name : world.Names(kin)) world.Delete(kin, name);
  }

  // The first life of a deployment: made, then moved to another revision. Call number `fail_at` fails.
  std::string Live(int fail_at, int* calls) {
    World world(Seed(1));
    world.client.Set([&, n = 0](std::string_view verb, const kube::Resource& resource) mutable -> FaultyClient::Fault {
      if (Reads(verb)) return {};
      *calls = ++n;
      if (n != fail_at) return {};
      DeleteKin(world, resource);
      return {GetParam().error, GetParam().after};
    });
    world.Create();
    EXPECT_TRUE(world.Settle());
    world.Patch(kNextRevision);
    EXPECT_TRUE(world.Settle());
    return world.State();
  }

  // The same life, but the operator is started anew in the middle of it. From then on the first list of each resource fails, its first watch is
  // refused, and its second breaks off behind an event. `met` is who met what, and does not matter if it is null, as nothing fails then.
  std::string LiveAmongFailingReads(bool watch_list, std::multiset<std::string>* met) {
    World world(Seed(1), "cpu", watch_list);
    world.Create();
    EXPECT_TRUE(world.Settle());
    world.client.Set([&](std::string_view verb, const kube::Resource& resource) -> FaultyClient::Fault {
      if (!Reads(verb) || met == nullptr) return {};
      const std::string call = StrCat(verb, " ", kube::QualifiedName(resource));
      met->insert(call);
      const size_t times = met->count(call);
      if (times > (verb == "list" ? 1u : 2u)) return {};
      DeleteKin(world, resource);
      return {GetParam().error, times == 2};
    });
    world.Restart();
    for (int step = 0; step < 300; ++step) world.Step(/*chaos=*/false);
    world.Patch(kNextRevision);
    for (int step = 0; step < 300; ++step) world.Step(/*chaos=*/false);
    EXPECT_TRUE(world.Settle());
    return world.State();
  }

  static constexpr char kNextRevision[] = R"({"spec":{"engine":{"args":["--max-input-tokens=9"]}}})";
};

TEST_P(EachErrorTest, AtEachListAndWatchEndsInTheSameState) {
  for (const bool watch_list : {false, true}) {
    SCOPED_TRACE(watch_list ? "watch-list" : "list");
    const std::string calm = LiveAmongFailingReads(watch_list, nullptr);
    std::multiset<std::string> met;
    ASSERT_EQ(LiveAmongFailingReads(watch_list, &met), calm);
    std::vector<kube::Resource> watched = ChildResources();
    watched.insert(watched.end(), {kube::kInferenceDeployments, kube::kAcceleratorClasses, kube::kNodes});
    for (const kube::Resource& resource : watched) {
      const std::string name = kube::QualifiedName(resource);
      EXPECT_GE(met.count("list " + name), watch_list ? 0u : 2u) << name;
      EXPECT_GE(met.count("watch " + name), 2u) << name;
    }
  }
}

TEST_P(EachErrorTest, AtEachCallEndsInTheSameState) {
  int calls = 0, ignored = 0;
  const std::string calm = Live(0, &calls);
  ASSERT_GT(calls, 30);
  for (int at = 1; at <= calls; ++at) {
    SCOPED_TRACE(StrCat("call ", at, " of ", calls));
    ASSERT_EQ(Live(at, &ignored), calm);
  }
}

INSTANTIATE_TEST_SUITE_P(Answers, EachErrorTest, ::testing::ValuesIn(Mishaps()),
                         [](const auto& info) { return std::string(info.param.name); });

TEST(ConvergenceTest, ADeletedDeploymentLeavesNothing) {
  for (const uint64_t seed : Seeds(10)) {
    SCOPED_TRACE(Replay(seed));
    World world(seed);
    world.Create();
    for (int step = 0; step < 300; ++step) world.Step(/*chaos=*/true);
    world.Delete(kube::kInferenceDeployments, kName);
    for (int step = 0; step < 100; ++step) world.Step(/*chaos=*/true);
    ASSERT_TRUE(world.Settle());
    EXPECT_EQ(world.State(), "");
  }
}

TEST(ConvergenceTest, AClockThatIsSetIsToldOnTheObjectAndChangesNothing) {
  World world(Seed(1));
  world.Create();
  ASSERT_TRUE(world.Settle());
  world.store.ClearWrites();
  const size_t before = world.events().size();
  world.SetWallClock(-std::chrono::hours(1));
  ASSERT_TRUE(world.Settle());
  ASSERT_EQ(world.events().size(), before + 1);
  const kube::Event& event = world.events().back();
  EXPECT_EQ(event.reason, "ClockSet");
  EXPECT_EQ(event.regarding.name, kName);
  EXPECT_NE(event.note.find("was set by -3600 s"), std::string::npos) << event.note;
  EXPECT_TRUE(world.store.Writes().empty());
}

TEST(ConvergenceTest, EventsTellTheStoryOnce) {
  World world(Seed(1));
  world.Create();
  ASSERT_TRUE(world.Settle());
  world.Patch(R"({"spec":{"engine":{"args":["--max-input-tokens=9"]}}})");
  ASSERT_TRUE(world.Settle());
  world.Restart();
  ASSERT_TRUE(world.Settle());
  std::multiset<std::string> reasons;
  for (const kube::Event& event : world.events()) {
    EXPECT_FALSE(event.warning) << event.note;
    EXPECT_EQ(event.regarding.name, kName);
    reasons.insert(event.reason);
  }
  EXPECT_EQ(reasons.count("RevisionCreated"), 2u);
  EXPECT_EQ(reasons.count("RevisionScaled"), 1u);
  EXPECT_EQ(reasons.count("RevisionRemoved"), 1u);
  EXPECT_EQ(reasons.count("BecameReady"), 1u);
}

}  // namespace
}  // namespace patella::apply
