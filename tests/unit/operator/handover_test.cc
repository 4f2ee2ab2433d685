#include "operator/reconcile/handover.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <vector>

#include "lib/base/random.h"
#include "lib/base/text.h"
#include "tests/unit/seed.h"

namespace patella::reconcile {
namespace {

TEST(HandOverTest, AFirstRevisionGetsAllItsReplicasAtOnce) {
  const HandOver out = PlanHandOver({.replicas = 5, .hard = 20, .soft = 0, .wanted = {.accelerators = 2}});
  EXPECT_EQ(out.wanted, 5);
  EXPECT_TRUE(out.may_surge);
}

TEST(HandOverTest, TheCapHoldsForAFirstRevisionToo) {
  const HandOver out = PlanHandOver({.replicas = 5, .hard = 9, .wanted = {.accelerators = 2}});
  EXPECT_EQ(out.wanted, 4);
  EXPECT_FALSE(out.may_surge);
}

TEST(HandOverTest, AnOldRevisionWithoutAReadyPodGoesAtOnce) {
  const HandOver out = PlanHandOver({.replicas = 2, .wanted = {.accelerators = 1}, .others = {{1, 2, 2, 0}}});
  EXPECT_EQ(out.others, std::vector<int>{0});
}

TEST(HandOverTest, WhereTheClusterIsFullAPodOfTheOldMakesRoomIfAnotherServes) {
  const HandOver out =
      PlanHandOver({.replicas = 2, .soft = 2, .wanted = {.accelerators = 1}, .others = {{1, 2, 2, 2}}});
  EXPECT_EQ(out.others, std::vector<int>{1});
}

TEST(HandOverTest, WhereTheClusterIsFullAndOnePodServesTheNewOneWaitsForANode) {
  const HandOver out =
      PlanHandOver({.replicas = 1, .soft = 1, .wanted = {.accelerators = 1}, .others = {{1, 1, 1, 1}}});
  EXPECT_EQ(out.others, std::vector<int>{1});
  EXPECT_EQ(out.wanted, 1);
  EXPECT_FALSE(out.blocked);
}

// A Deployment and its pods, moved by a controller and a kubelet that take their time.
struct World {
  struct Set {
    int accelerators = 1;
    int told = 0, pods = 0, ready = 0;
  };
  std::vector<Set> sets;  // the last one is wanted

  int64_t Accelerators() const {
    int64_t sum = 0;
    for (const Set& s : sets) sum += static_cast<int64_t>(s.pods) * s.accelerators;
    return sum;
  }
  int Ready() const {
    int sum = 0;
    for (const Set& s : sets) sum += s.ready;
    return sum;
  }
  // One small thing happens: a pod begins, becomes ready, or goes (one that is not ready first).
  bool Happen(Random& random) {
    std::vector<std::pair<Set*, int>> possible;
    for (Set& s : sets) {
      if (s.pods < s.told) possible.emplace_back(&s, 0);
      if (s.ready < std::min(s.pods, s.told)) possible.emplace_back(&s, 1);
      if (s.pods > s.told) possible.emplace_back(&s, 2);
    }
    if (possible.empty()) return false;
    auto [set, what] = possible[static_cast<size_t>(random.UniformInt(0, static_cast<int64_t>(possible.size()) - 1))];
    if (what == 0) ++set->pods;
    if (what == 1) ++set->ready;
    if (what == 2) --set->pods, set->ready = std::min(set->ready, set->pods);
    return true;
  }
  HandOverInputs View(int replicas, std::optional<int64_t> hard, std::optional<int64_t> soft) const {
    HandOverInputs in{.replicas = replicas, .hard = hard, .soft = soft};
    for (const Set& s : sets) {
      const RevisionLoad load{s.accelerators, s.told, s.pods, s.ready};
      if (&s == &sets.back()) {
        in.wanted = load;
      } else {
        in.others.push_back(load);
      }
    }
    return in;
  }
};

// Random clusters, caps, degrees and interleavings; views that are old by some steps; a spec that changes again on the way.
TEST(HandOverTest, NeverOverTheCapNeverWithoutAReadyPodAndAlwaysDoneInTheEnd) {
  for (const uint64_t seed : Seeds(3000)) {
    SCOPED_TRACE(Replay(seed));
    Random random(seed);
    const int degrees[] = {1, 2, 4};
    const auto degree = [&] { return degrees[random.UniformInt(0, 2)]; };
    World world;
    world.sets.push_back({.accelerators = degree()});
    const int replicas = static_cast<int>(random.UniformInt(1, 6));
    std::optional<int64_t> hard, soft;
    if (random.UniformInt(0, 2) > 0) hard = random.UniformInt(5, 24);  // 5: a pod of 4 fits beside one of 1
    if (random.UniformInt(0, 1) > 0) soft = random.UniformInt(1, 30);
    int moves = static_cast<int>(random.UniformInt(1, 3));
    bool was_ready = false, blocked = false;
    HandOverInputs seen = world.View(replicas, hard, soft);
    int quiet = 0;
    for (int step = 0; step < 20000 && quiet < 50; ++step) {
      if (random.UniformInt(0, 2) == 0) seen = world.View(replicas, hard, soft);  // else the cache lags
      if (seen.others.size() + 1 == world.sets.size()) {
        const HandOver out = PlanHandOver(seen);
        blocked = out.blocked;
        // What the executor writes is read back before the next plan.
        const auto write = [](int told, World::Set& set, RevisionLoad& load) {
          load.settled &= load.wanted == told;
          set.told = load.wanted = told;
        };
        for (size_t i = 0; i < out.others.size(); ++i) write(out.others[i], world.sets[i], seen.others[i]);
        write(out.wanted, world.sets.back(), seen.wanted);
      }
      const bool happened = random.UniformInt(0, 1) > 0 && world.Happen(random);
      ASSERT_LE(world.Accelerators(), hard.value_or(1 << 30)) << "step " << step;
      ASSERT_GE(world.Ready(), was_ready ? 1 : 0) << "step " << step;
      was_ready |= world.Ready() > 0;
      const bool still = !happened && world.sets.back().ready == world.sets.back().told;
      quiet = still ? quiet + 1 : 0;
      if (moves > 0 && was_ready && random.UniformInt(0, 60) == 0) {
        --moves;
        world.sets.push_back({.accelerators = degree()});
        seen = world.View(replicas, hard, soft);
        quiet = 0;
      }
    }
    EXPECT_GE(quiet, 50);
    if (blocked) {
      EXPECT_TRUE(hard);
      continue;
    }
    const int possible =
        hard ? static_cast<int>(std::min<int64_t>(replicas, *hard / world.sets.back().accelerators)) : replicas;
    EXPECT_EQ(world.sets.back().ready, possible);
    for (size_t i = 0; i + 1 < world.sets.size(); ++i) EXPECT_EQ(world.sets[i].pods, 0) << i;
  }
}

}  // namespace
}  // namespace patella::reconcile
