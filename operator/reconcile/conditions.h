// What the operator says of an InferenceDeployment: the conditions Ready, CapacityAvailable, UpdateAvailable, Reconciling and Stalled. Pure.
//
// Reconciling and Stalled are abnormal-true, as kstatus (kubectl wait, Argo CD, Flux) reads them.
#pragma once

#include <string>
#include <vector>

#include "operator/reconcile/choice.h"
#include "operator/reconcile/handover.h"
#include "operator/reconcile/inputs.h"

namespace patella::reconcile {

struct Situation {
  const Inputs& inputs;
  Refusal refusal;  // nothing can be planned, for this reason
  Choice choice;
  std::string revision;
  int desired = 0;                       // replicas, within scaling's bounds
  int possible = 0;                      // and within hardware.maxAccelerators
  int ready = 0;                         // of all revisions
  const RevisionView* wanted = nullptr;  // null until its Deployment exists
  HandOver hand_over;
  int others = 0;            // revisions that still have pods or are told to
  int64_t accelerators = 0;  // that all revisions will ask for
  std::string update;        // what newer images there are; "" for none
};

std::vector<Condition> ConditionsOf(const Situation& s);

}  // namespace patella::reconcile
