// Kubernetes Events: what happened to an object, for `kubectl describe`.
//
// Record never blocks and never fails: a bounded queue feeds one thread, and what does not fit is dropped.
// The same event again (object, reason, action, type and note) within 6 minutes becomes a series of one Event; per
// object at most 25 at once, then one in 5 minutes. Names follow from the content, so that a repeated create does no
// harm.
#pragma once

#include <memory>
#include <string>

#include "lib/base/clock.h"
#include "lib/kube/client.h"

namespace patella::kube {

struct ObjectReference {
  std::string api_version, kind, namespace_name, name, uid, resource_version;
};
ObjectReference ReferenceTo(const Object& object);

struct Event {
  ObjectReference regarding;
  bool warning = false;
  std::string reason;  // CamelCase: "LimitRaised"
  std::string action;  // CamelCase, what was done: "Tune"; "" becomes the reason
  std::string note;    // ≤ 1 KiB; longer ones are cut
};

struct EventRecorderOptions {
  std::string controller;                     // "patella.dev/operator"
  std::string instance;                       // pod name
  std::string default_namespace = "default";  // of events about cluster-scoped objects
  size_t queue = 1000;
  Duration series_window = std::chrono::minutes(6);
  int burst = 25;
  Duration refill = std::chrono::minutes(5);
};

class EventRecorder {
 public:
  EventRecorder(Client* client, EventRecorderOptions options, const Clock& clock);
  ~EventRecorder();

  void Record(Event event);
  // Sends what is queued, for at most `wait`, and ends the thread.
  void Stop(Duration wait);

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace patella::kube
