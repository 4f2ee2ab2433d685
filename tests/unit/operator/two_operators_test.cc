// Two installations by mistake over the same objects, neither of which can read the other's Lease.
#include <gtest/gtest.h>

#include <algorithm>
#include <nlohmann/json.hpp>
#include <set>

#include "lib/base/text.h"
#include "operator/apply/contest.h"
#include "operator/apply/rivals.h"
#include "tests/unit/operator/world.h"
#include "tests/unit/seed.h"

namespace patella::apply {
namespace {

using nlohmann::json;
using std::chrono::minutes, std::chrono::seconds;

constexpr char kA[] = "a/patella-operator", kB[] = "b/patella-operator";
constexpr int kManyTurns = 100;

class TwoOperatorsTest : public testing::Test {
 protected:
  // Time passes; who is given works.
  void For(Duration time, std::vector<World*> living) {
    for (Duration passed{}; passed < time; passed += seconds(1)) {
      int turns = 0;
      for (bool busy = true; busy; ++turns) {
        ASSERT_LT(turns, kManyTurns) << "they write without pause";
        busy = false;
        for (World* world : living) busy = world->Turn() || busy;
      }
      living.front()->Pass(seconds(1));
    }
  }
  // The names on all Deployments, each once.
  std::string Mark() {
    std::set<std::string> marks;
    for (const kube::ObjectPtr& d : a_.All(kube::kDeployments))
      marks.insert(json::parse(d->json())["metadata"]["annotations"].value(render::kOperatorAnnotation, "none"));
    return Join(std::vector<std::string>(marks.begin(), marks.end()), " ");
  }
  // "" if it does not stand there.
  std::string Condition(const std::string& type) {
    const json object = json::parse(a_.All(kube::kInferenceDeployments).at(0)->json());
    for (const json& condition : object["status"]["conditions"]) {
      if (condition["type"] == type) return condition["message"].get<std::string>() + ".";
    }
    return "";
  }
  // Of Deployments, since this was last asked.
  long Writes() {
    const std::vector<std::string> all = a_.store.Writes();
    a_.store.ClearWrites();
    return std::count_if(all.begin(), all.end(),
                         [](const std::string& w) { return w.find(" deployments") != std::string::npos; });
  }
  static long Told(const World& world, const std::string& reason) {
    return std::count_if(world.events().begin(), world.events().end(),
                         [&](const kube::Event& event) { return event.reason == reason; });
  }

  World a_{Seed(1), "cpu", true, kA};
  World b_{Seed(2), "cpu", true, kB, &a_};
};

TEST_F(TwoOperatorsTest, TheSecondByNameLeavesTheOthersObjectsAloneAndSaysSo) {
  a_.Create();
  For(minutes(1), {&a_});
  ASSERT_EQ(Mark(), kA);
  Writes();
  For(minutes(1), {&a_, &b_});
  EXPECT_EQ(Mark(), kA);
  EXPECT_LE(Writes(), 2) << "one question, one answer";
  EXPECT_EQ(Told(b_, "AnotherOperator"), 1);
  EXPECT_EQ(Told(a_, "AnotherOperator"), 1);
  EXPECT_NE(Condition("Contested").find("a/patella-operator works on this object too"), std::string::npos);
  EXPECT_NE(Condition("Ready"), "") << "the other's part of status stays";

  For(minutes(30), {&a_, &b_});
  EXPECT_LE(Writes(), 2 * 15) << "it asks again, seldom";
  EXPECT_EQ(Mark(), kA);
  EXPECT_EQ(Told(b_, "AnotherOperator"), 1) << "but says so once";
  EXPECT_EQ(Told(a_, "AnotherOperator"), 1);
  EXPECT_EQ(Told(a_, "TakenOver") + Told(b_, "TakenOver"), 0);
  EXPECT_NE(Condition("Contested"), "");
}

TEST_F(TwoOperatorsTest, TheFirstByNameTakesOver) {
  a_.Create();
  For(minutes(1), {&b_});
  ASSERT_EQ(Mark(), kB);
  Writes();
  For(minutes(2), {&a_, &b_});
  EXPECT_EQ(Mark(), kA);
  EXPECT_LE(Writes(), 2) << "a name, and what is planned";
  EXPECT_EQ(Told(b_, "AnotherOperator"), 1);
}

TEST_F(TwoOperatorsTest, BothAtOnceOverANewObjectAgreeWhoseItIs) {
  for (const uint64_t seed : Seeds(20)) {
    SCOPED_TRACE(Replay(seed));
    World a(seed, "cpu", true, kA), b(seed + 1, "cpu", true, kB, &a);
    a.Create();
    for (int step = 0; step < 2000; ++step) (a.random.Uniform() < 0.5 ? a : b).Step(/*chaos=*/false);
    For(minutes(3), {&a, &b});
    a.store.ClearWrites();
    For(minutes(10), {&a, &b});
    for (const kube::ObjectPtr& d : a.All(kube::kDeployments))
      EXPECT_EQ(json::parse(d->json())["metadata"]["annotations"][render::kOperatorAnnotation], kA);
    EXPECT_LE(a.store.Writes().size(), 30);
  }
}

TEST_F(TwoOperatorsTest, TheSecondTakesOverOnceTheFirstIsGoneForAWhile) {
  a_.Create();
  For(minutes(1), {&a_});
  For(minutes(1), {&a_, &b_});
  For(kAskAgain - minutes(1), {&b_});
  EXPECT_EQ(Told(b_, "TakenOver"), 0);
  For(minutes(1) + kAnswer, {&b_});
  EXPECT_EQ(Mark(), kB);
  EXPECT_EQ(Told(b_, "TakenOver"), 1);
  EXPECT_EQ(Condition("Contested"), "");
  a_.Patch(R"({"spec":{"replicas":3}})");
  For(seconds(2), {&b_});
  EXPECT_EQ(json::parse(a_.All(kube::kDeployments).at(0)->json())["spec"]["replicas"], 3);
}

TEST_F(TwoOperatorsTest, ANewcomerWaitsForAnAnswerBeforeItWorks) {
  a_.Create();
  For(minutes(1), {&a_});
  a_.Patch(R"({"spec":{"replicas":3}})");
  const auto replicas = [&] { return json::parse(a_.All(kube::kDeployments).at(0)->json())["spec"]["replicas"]; };
  const json before = replicas();
  For(kAnswer - seconds(5), {&b_});
  EXPECT_EQ(replicas(), before);
  For(seconds(15), {&b_});
  EXPECT_EQ(replicas(), 3);
  EXPECT_EQ(Mark(), kB);
  EXPECT_EQ(Told(b_, "AnotherOperator"), 0);
}

TEST_F(TwoOperatorsTest, WhoWorksOnAPausedObjectAnswersToo) {
  a_.Create();
  For(minutes(1), {&a_});
  a_.Patch(R"({"spec":{"paused":true}})");
  For(minutes(2), {&a_, &b_});
  EXPECT_EQ(Mark(), kA);
  EXPECT_EQ(Told(b_, "AnotherOperator"), 1);
}

TEST_F(TwoOperatorsTest, TheConditionGoesOnceWhoSaidSoIsGone) {
  a_.Create();
  For(minutes(1), {&a_});
  For(minutes(1), {&a_, &b_});
  ASSERT_NE(Condition("Contested"), "");
  For(kStale + minutes(1), {&a_});
  EXPECT_EQ(Condition("Contested"), "");
  EXPECT_NE(Condition("Ready"), "");
}

}  // namespace
}  // namespace patella::apply
