// The tuner in virtual time, against the simulated server that the science tests use.
#pragma once

#include <gtest/gtest.h>

#include <optional>
#include <variant>
#include <vector>

#include "sidecar/tuner/tuner.h"
#include "tests/unit/science/simulator.h"

namespace patella::sidecar {

inline TunerOptions OptionsFor(double target_ms) {
  TunerOptions options;
  options.input_tokens = 128;
  options.output_tokens = 64;
  options.max_calibration_s = 300;
  if (target_ms > 0) options.targets = {{.quantile = 0.9, .target_ms = target_ms}};
  return options;
}

inline TunerOptions OptionsWith(const TunerPolicy& policy) {
  TunerOptions options;
  static_cast<TunerPolicy&>(options) = policy;
  return options;
}

// What came of a calibration: carries out the tuner's actions, each probe against a fresh server of this kind.
struct World {
  science::ServerConfig server;
  double now_s = 1000;
  int limit = 0;
  science::PromptBudget prompts;
  bool admitted = false, saved = false;
  std::optional<int> exit_code;
  int probes = 0;
  std::vector<Learned> peers;  // what they answer
  int asked = 0;
  std::vector<double> retries;  // their delays

  void Do(Tuner& tuner, const TunerActions& actions) {
    for (const TunerAction& action : actions) {
      if (const auto* set = std::get_if<SetLimit>(&action)) limit = set->limit, prompts = set->prompts;
      if (std::holds_alternative<AdmitUsers>(action)) admitted = true;
      if (std::holds_alternative<Save>(action)) saved = true;
      if (const auto* exit = std::get_if<Exit>(&action)) exit_code = exit->code;
      if (const auto* retry = std::get_if<Retry>(&action)) retries.push_back(retry->delay_s);
      if (std::holds_alternative<AskPeers>(action)) {
        ++asked;
        Do(tuner, tuner.OnPeers(peers, now_s));
      }
      if (const auto* run = std::get_if<RunProbe>(&action)) {
        EXPECT_FALSE(admitted) << "users were admitted while a probe ran";
        ++probes;
        server.seed += 1;
        science::Server simulated(server);
        // The other replicas may ask for what is known at any moment.
        const auto asked_now = [&tuner] { EXPECT_LE(tuner.learned().spreads.size(), tuner.view().targets.size()); };
        const double seconds = science::Drive(simulated, *run->probe, run->deadline_s, asked_now);
        now_s += seconds;
        ProbeReport report{
            .end = run->probe->done() ? ProbeEnd::kDone : ProbeEnd::kTimedOut, .tokens = 100, .seconds = seconds};
        return Do(tuner, tuner.OnProbeEnd(report, now_s));
      }
    }
  }
};

}  // namespace patella::sidecar
