// How many replicas each revision should have now, on the way from the old revision to the wanted one. Pure arithmetic.
//
// Rules, strongest first:
//   1. Pods never ask for more accelerators than `hard` in sum (but where they already do).
//   2. Where a pod was ready, one stays ready: the old revision gives up pods only as the new one's become ready, or, where no accelerator
//      is left for the new one, a batch at a time while another pod is ready.
//   3. Otherwise as fast as a surge of a quarter allows.
// A figure that is old errs on the safe side: a Deployment counts as the larger of what it was told and what it has, and while it has not
// seen what it was told, what it had may be more: then nothing grows,
// and what it had ready may be less: then nothing shrinks.
#pragma once

#include <cstdint>
#include <optional>
#include <vector>

namespace patella::reconcile {

struct RevisionLoad {
  int accelerators = 0;  // of one pod
  int wanted = 0;        // spec.replicas as it stands; 0 if it doesn't exist
  int present = 0;
  int ready = 0;
  bool settled = true;  // its controller has seen `wanted`: `present` is not from before
};

struct HandOverInputs {
  int replicas = 1;                        // what the user or the autoscaler wants of the new revision
  std::optional<int64_t> hard, soft = {};  // accelerators allowed; accelerators that the cluster's nodes have
  RevisionLoad wanted;
  std::vector<RevisionLoad> others;  // preferred ones first
};

struct HandOver {
  int wanted = 0;           // replicas of the new revision
  std::vector<int> others;  // of the others, in order
  bool blocked = false;     // the new one can't begin without the last ready pod of the old going first
  bool may_surge =
      false;  // a pod more would be within bounds: a Deployment may surge by one when its own template changes
};

HandOver PlanHandOver(const HandOverInputs& inputs);

}  // namespace patella::reconcile
