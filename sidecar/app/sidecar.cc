#include "sidecar/app/sidecar.h"

#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "lib/base/logging.h"
#include "lib/base/status_macros.h"
#include "lib/http/server.h"
#include "lib/loadgen/probe_runner.h"
#include "sidecar/app/admin.h"
#include "sidecar/app/decision_log.h"
#include "sidecar/app/drain.h"
#include "sidecar/app/engine_watch.h"
#include "sidecar/app/live_window.h"
#include "sidecar/app/metrics.h"
#include "sidecar/app/state_file.h"
#include "sidecar/app/status.h"
#include "sidecar/cluster/cluster.h"
#include "sidecar/engine/control.h"
#include "sidecar/proxy/proxy.h"
#include "sidecar/tuner/tuner.h"

namespace patella::sidecar {
namespace {

constexpr auto kTick = std::chrono::seconds(1);
constexpr auto kLastLook =
    std::chrono::milliseconds(1500);  // /status.json shows the error for so long before the program ends
constexpr double kEngineHeadroom =
    1.25;  // the engine's own limit above ours: cancelled requests leave it a step later than us

double ToSeconds(TimePoint t) { return Seconds(t.time_since_epoch()); }
double WallNow() { return std::chrono::duration<double>(std::chrono::system_clock::now().time_since_epoch()).count(); }

class SidecarImpl final : public Sidecar {
 public:
  SidecarImpl(http::Loop& loop, Config config, std::function<void(int)> on_exit)
      : loop_(loop), config_(std::move(config)), on_exit_(std::move(on_exit)) {
    LabelMetrics();
  }

  absl::Status Begin() {
    const bool tuning = config_.tuner.mode == TuningMode::kAuto;
    if (!config_.state_dir.empty() && tuning) config_.tuner.resumed = ReadState(config_.state_dir, config_.tuner);
    calibrated_at_s_ = config_.tuner.resumed.calibrated_at_s;
    tuner_ = std::make_unique<Tuner>(config_.tuner);
    ProxyOptions options;
    options.engine.host = config_.engine_host;
    options.engine.port = config_.engine_port;
    options.path_prefix = config_.engine_path_prefix;
    options.queue = config_.queue;
    proxy_ = std::make_unique<Proxy>(loop_, options, Budgets{.requests = 0}, Events());
    proxy_->Close(Refusal::kNotReady, "Starting: waiting for the engine", 5);
    drain_ = std::make_unique<Draining>(loop_, *proxy_, config_.drain_delay, config_.drain_timeout);
    PATELLA_RETURN_IF_ERROR(Listen());
    adapters::EngineTarget target{.kind = config_.engine_kind,
                                  .host = config_.engine_host,
                                  .port = config_.engine_port,
                                  .model = config_.model,
                                  .path_prefix = config_.engine_path_prefix};
    watch_ = std::make_unique<EngineWatch>(loop_, target, config_.engine_start_timeout, WatchEvents());
    tick_ = loop_.Every(kTick, [this] { Tick(); });
    return JoinCluster();
  }

  void Drain() override {
    if (drain_->leaving() || tuner_->view().exit_code != 0) return Leave(tuner_->view().exit_code);
    LogInfo("draining", {{"inflight", proxy_->limiter().in_flight()}});
    front_->StopAccepting();
    drain_->BeginToLeave([this] { Leave(0); });
  }

  int port() const override { return front_->port(); }
  int admin_port() const override { return admin_server_->port(); }
  std::string status_json() override { return StatusJson(tuner_->view(), decisions_.all(), Live()); }

 private:
  double Now() const { return ToSeconds(loop_.Now()); }
  void LabelMetrics() {
    metrics_ = std::make_unique<SidecarMetrics>(config_.model, config_.deployment, config_.revision);
  }

  absl::Status Listen() {
    http::ServerOptions front;
    front.address = config_.listen.host;
    front.port = config_.listen.port;
    front.max_body_bytes = 32 << 20;
    PATELLA_ASSIGN_OR_RETURN(
        front_, http::Server::Listen(loop_, front, [this](http::Request r, std::shared_ptr<http::Exchange> e) {
          proxy_->Handle(std::move(r), std::move(e));
        }));
    http::ServerOptions admin;
    admin.address = config_.admin.host;
    admin.port = config_.admin.port;
    admin.max_connections = 64;
    admin_ = std::make_unique<Admin>(loop_, AdminSources());
    PATELLA_ASSIGN_OR_RETURN(
        admin_server_, http::Server::Listen(loop_, admin, [this](http::Request r, std::shared_ptr<http::Exchange> e) {
          admin_->Handle(std::move(r), std::move(e));
        }));
    LogInfo("listening", {{"clients", front_->address()}, {"admin", admin_server_->address()}});
    return absl::OkStatus();
  }

  absl::Status JoinCluster() {
    if (config_.cluster.namespace_name.empty()) return absl::OkStatus();
    ClusterHooks hooks;
    hooks.report = [this] { return Report(); };
    hooks.story = [this] { return Story(); };
    hooks.on_policy = [this](const ReplicaPolicy& policy) {
      static_cast<TunerPolicy&>(config_.tuner) = policy.tuner;
      proxy_->SetQueue({.max_requests = policy.queue_max_requests, .max_wait = policy.queue_max_wait});
      Do(tuner_->Follow(policy.tuner, Now()));
    };
    config_.cluster.metrics = &metrics_->all();
    PATELLA_ASSIGN_OR_RETURN(cluster_, ClusterLink::Start(loop_, config_.cluster, std::move(hooks)));
    return absl::OkStatus();
  }

  PeerReport Report() {
    const TunerView& view = tuner_->view();
    const double now = Now();
    PeerReport report{.ready = ready_ && watch_->healthy(),
                      .limit = view.limit,
                      .bound_by = view.bound_by,
                      .confidence = view.confidence,
                      .calibrated_at_s = calibrated_at_s_,
                      .in_flight = proxy_->limiter().in_flight(),
                      .admitted_total = proxy_->admitted_total(),
                      .rejected_total = proxy_->rejected_total(),
                      .tokens_per_second = live_.TokensPerSecond(now),
                      .ms_per_token = live_.LatencyMs(science::LatencyMetric::kTimePerOutputToken, 0.5, now),
                      .learned = tuner_->learned()};
    report.learned.calibrated_at_s = calibrated_at_s_;
    report.worst_target_ratio = live_.WorstTargetRatio(view.targets, now);
    return report;
  }

  TunerStory Story() const {
    const TunerView& view = tuner_->view();
    return {.decisions = decisions_.all(),
            .problem = view.error,
            .impossible_target = view.failure == kExitImpossibleTarget};
  }

  AdminHooks AdminSources() {
    AdminHooks hooks;
    hooks.status_json = [this] { return status_json(); };
    hooks.metrics = [this] { return metrics_->Text(tuner_->view(), Live()); };
    hooks.ready = [this] { return ready_ && !drain_->active() && watch_->healthy(); };
    hooks.started = [this] { return watch_->started(); };
    hooks.engine_healthy = [this] { return watch_->healthy(); };
    hooks.begin_drain = [this] { drain_->BeginForEngine(); };
    hooks.idle = [this] { return drain_->IdleForEngine() || (engine_seen_ && !watch_->healthy()); };
    hooks.drain_timeout = drain_->engine_timeout();
    hooks.engine.host = config_.engine_host;
    hooks.engine.port = config_.engine_port;
    hooks.engine_metrics_path =
        absl::StrCat(config_.engine_path_prefix, std::string(adapters::EngineOf(config_.engine_kind).metrics_path));
    return hooks;
  }

  ProxyEvents Events() {
    ProxyEvents events;
    events.on_admitted = [this](Limiter::Id) { metrics_->OnAdmitted(); };
    events.on_refused = [this](Refusal refusal) { metrics_->OnRefused(LabelOf(refusal)); };
    events.on_prompt_computed = [this](Limiter::Id, int64_t prompt_tokens) {
      tuner_->OnPromptComputed(static_cast<int>(prompt_tokens), proxy_->limiter().decoding() - 1);  // without itself
    };
    events.on_tokens = [this](Limiter::Id, int tokens, double gap_ms) {
      live_.OnTokens(tokens, Now());
      metrics_->OnTokens(tokens, gap_ms);
      tuner_->OnTokens(tokens, gap_ms, proxy_->limiter().decoding(), proxy_->limiter().in_flight());
    };
    events.on_finished = [this](Limiter::Id, const StreamRecord& record) { OnFinished(record); };
    events.on_engine_failure = [this](const absl::Status& status) {
      metrics_->OnUpstreamError(absl::IsDeadlineExceeded(status) ? "timeout" : "unavailable");
      LogWarning("request failed upstream", {{"status", status}});
    };
    return events;
  }

  void OnFinished(const StreamRecord& record) {
    metrics_->OnFinished(record, tuner_->view().targets);  // as they are now, not as at the start
    if (!record.ok) return;
    const double now = Now();
    live_.OnStream(record.time_per_output_token_ms, record.time_to_first_token_ms, record.end_to_end_ms, now);
    if (!record.streamed) live_.OnTokens(record.output_tokens, now);
    tuner_->OnStream({.admitted_s = now - (record.end_to_end_ms - record.queue_ms) / 1e3,
                      .time_per_output_token_ms = record.time_per_output_token_ms,
                      .time_to_first_token_ms = record.time_to_first_token_ms,
                      .end_to_end_ms = record.end_to_end_ms,
                      .output_tokens = record.output_tokens / record.sequences});
  }

  EngineWatchEvents WatchEvents() {
    EngineWatchEvents events;
    events.on_waiting = [this](const std::string& message) { tuner_->OnWaiting(message); };
    events.on_missing = [this](const std::string& why) { Do(tuner_->OnEngineMissing(why, Now())); };
    events.on_ready = [this](const adapters::Discovery& found) { OnEngineReady(found); };
    events.on_health = [this](bool healthy) {
      healthy ? LogInfo("engine is healthy again") : LogWarning("engine is gone: requests get 503 until it is back");
      // The drain was for an engine that has been replaced (kubelet restarted that container alone): it is over.
      if (healthy && drain_->EndForEngine() && !drain_->leaving() && ready_) proxy_->Open();
      if (!healthy) Do(tuner_->OnEngineLost("the engine stopped answering its health check", Now()));
    };
    return events;
  }

  void OnEngineReady(const adapters::Discovery& found) {
    engine_seen_ = true;
    target_ = found.target;
    if (config_.model.empty() && cluster_ == nullptr) {  // nothing worth keeping has been counted yet
      config_.model = found.target.model;
      LabelMetrics();
    }
    facts_ = {.kv_capacity_tokens = found.kv_capacity_tokens,
              .max_total_tokens = found.max_total_tokens,
              .max_concurrent_requests = found.max_concurrent_requests};
    if (config_.control_socket.empty()) return StartTuning();
    ControlEvents events;
    events.on_info = [this](const EngineInfo& info) {
      facts_ = {.kv_capacity_tokens = info.kv_capacity_tokens,
                .max_total_tokens = info.max_total_tokens,
                .max_concurrent_requests = info.max_concurrent_requests,
                .limit_follows = cluster_ != nullptr};  // its first limit came from the object, as ours did
      StartTuning();
    };
    events.on_stats = [this](const EngineStats& stats) { engine_stats_ = stats; };
    events.on_limits = [](uint64_t generation, int limit) {
      LogInfo("engine limit", {{"max_concurrent_requests", limit}, {"generation", generation}});
    };
    control_ = EngineControl::Start(loop_, config_.control_socket, std::move(events));
    control_patience_ = loop_.After(std::chrono::seconds(5), [this] {
      if (tuning_started_) return;
      LogWarning("control socket does not answer; going on over HTTP alone", {{"socket", config_.control_socket}});
      StartTuning();
    });
  }

  void StartTuning() {
    if (std::exchange(tuning_started_, true)) return;
    LogInfo("engine is healthy", {{"model", target_.model}, {"kv_capacity_tokens", facts_.kv_capacity_tokens}});
    Do(tuner_->OnEngineReady(facts_, Now()));
  }

  void Tick() {
    if (ready_ || watch_->healthy()) Do(tuner_->OnTick(proxy_->limiter().in_flight(), Now()));
    if (!ready_ && !drain_->leaving()) UpdateNotReady();
  }

  void UpdateNotReady() {
    const TunerView& view = tuner_->view();
    const double left = (1 - view.progress.fraction) * std::min(30.0, config_.tuner.max_calibration_s);
    proxy_->Close(Refusal::kNotReady, absl::StrCat("Not ready yet: ", view.message),
                  std::max(1, static_cast<int>(left)));
  }

  void Do(const TunerActions& actions) {
    for (const TunerAction& action : actions) {
      std::visit([this](const auto& a) { Act(a); }, action);
    }
    TakeDecisions();
  }

  void Act(const RunProbe& run) {
    loadgen::ProbeOptions options;
    options.deadline = FromSeconds(run.deadline_s);
    options.seed = config_.tuner.seed + static_cast<uint64_t>(++probes_);
    options.on_progress = [this](const science::ProbeProgress& progress) { tuner_->OnProgress(progress, Now()); };
    runner_ = loadgen::ProbeRunner::Start(loop_, target_, *run.probe, options,
                                          [this](const loadgen::ProbeOutcome& outcome) { OnProbe(outcome); });
  }

  void OnProbe(const loadgen::ProbeOutcome& outcome) {
    ProbeReport report{.why = std::string(outcome.status.message()),
                       .tokens = outcome.output_tokens + outcome.prompt_tokens,
                       .seconds = outcome.seconds};
    if (outcome.generator_bound) report.end = ProbeEnd::kGeneratorBound;
    if (!outcome.status.ok()) {
      report.end = absl::IsUnavailable(outcome.status)        ? ProbeEnd::kEngineGone
                   : absl::IsDeadlineExceeded(outcome.status) ? ProbeEnd::kTimedOut
                                                              : ProbeEnd::kRefused;
    }
    metrics_->OnProbe(outcome.streams, outcome.failed_streams, report.tokens, report.seconds);
    runner_.reset();
    if (!leaving_) Do(tuner_->OnProbeEnd(report, Now()));
  }

  void Act(const SetLimit& set) {
    proxy_->SetBudgets({.requests = set.limit,
                        .prompt_tokens = set.prompts.tokens,
                        .kv_tokens = facts_.kv_capacity_tokens,
                        .step_ms = set.prompts.step_ms,
                        .ms_per_prompt_token = set.prompts.ms_per_token});
    if (control_)
      control_->SetMaxConcurrentRequests(std::max(set.limit + 2, static_cast<int>(kEngineHeadroom * set.limit)));
  }

  void Act(const AdmitUsers&) {
    ready_ = true;
    if (calibrated_at_s_ == 0 && config_.tuner.mode != TuningMode::kOff)
      calibrated_at_s_ = static_cast<int64_t>(WallNow());
    if (!drain_->active()) proxy_->Open();
    LogInfo("ready", {{"limit", tuner_->view().limit}, {"bound_by", tuner_->view().bound_by}});
  }

  void Act(const Save&) {
    if (config_.state_dir.empty()) return;
    Learned learned = tuner_->learned();
    learned.calibrated_at_s = calibrated_at_s_;
    if (const absl::Status status = WriteState(config_.state_dir, learned); !status.ok()) {
      LogWarning("cannot keep the learned limit", {{"status", status}});
    }
  }

  void Act(const AskPeers&) {
    cluster_->AskPeers(KeyOf(config_.tuner), [this](const std::vector<Learned>& learned) {
      if (leaving_) return;
      // What it begins from was measured then; a calibration of our own follows if there is nothing to begin from.
      const Learned* chosen = Choose(learned, KeyOf(config_.tuner));
      calibrated_at_s_ = chosen != nullptr ? chosen->calibrated_at_s : 0;
      Do(tuner_->OnPeers(learned, Now()));
    });
  }

  void Act(const Retry& retry) {
    LogWarning(tuner_->view().error, {{"measured_again_in_s", retry.delay_s}});
    UpdateNotReady();
  }

  void Act(const Exit& exit) {
    if (leaving_) return;
    LogError(tuner_->view().error, {{"exit_code", exit.code}});
    exit_timer_ = loop_.After(kLastLook, [this, code = exit.code] { Leave(code); });
    UpdateNotReady();
  }

  void TakeDecisions() {
    for (const Decision& d : decisions_.Take(tuner_->view().decisions, Now(), WallNow())) {
      LogInfo(d.what, {{"from", d.from}, {"to", d.to}, {"reason", d.reason}, {"evidence", d.evidence}});
      metrics_->OnDecision(d.reason);
    }
  }

  void Leave(int code) {
    if (std::exchange(leaving_, true)) return;
    on_exit_(code);
  }

  LiveView Live() {
    const double now = Now();
    return {.model = config_.model,
            .inflight = proxy_->limiter().in_flight(),
            .queued = proxy_->limiter().queued(),
            .admitted_total = proxy_->admitted_total(),
            .rejected_total = proxy_->rejected_total(),
            .tokens_per_second = live_.TokensPerSecond(now),
            .p90_ms_per_token = live_.LatencyMs(science::LatencyMetric::kTimePerOutputToken, 0.9, now),
            .p90_ttft_ms = live_.LatencyMs(science::LatencyMetric::kTimeToFirstToken, 0.9, now),
            .engine_running = engine_stats_.running,
            .engine_waiting = engine_stats_.waiting,
            .kv_tokens_used = engine_stats_.kv_tokens_used,
            .kv_tokens_capacity = std::max(engine_stats_.kv_tokens_capacity, facts_.kv_capacity_tokens)};
  }

  http::Loop& loop_;
  Config config_;
  const std::function<void(int)> on_exit_;
  std::unique_ptr<SidecarMetrics> metrics_;
  LiveWindow live_;
  EngineStats engine_stats_;
  EngineFacts facts_;
  adapters::EngineTarget target_;
  bool ready_ = false, leaving_ = false, engine_seen_ = false, tuning_started_ = false;
  int probes_ = 0;
  int64_t calibrated_at_s_ = 0;  // since the epoch
  DecisionLog decisions_;
  std::unique_ptr<Tuner> tuner_;
  std::unique_ptr<Proxy> proxy_;
  std::unique_ptr<Draining> drain_;
  std::unique_ptr<Admin> admin_;
  std::unique_ptr<http::Server> front_, admin_server_;
  std::unique_ptr<EngineWatch> watch_;
  std::unique_ptr<EngineControl> control_;
  std::unique_ptr<loadgen::ProbeRunner> runner_;  // after the tuner: it uses the tuner's probe
  std::unique_ptr<ClusterLink> cluster_;          // goes first: its hooks use all of the above
  std::unique_ptr<http::Loop::Timer> tick_, exit_timer_, control_patience_;
};

}  // namespace

absl::StatusOr<std::unique_ptr<Sidecar>> Sidecar::Start(http::Loop& loop, Config config,
                                                        std::function<void(int)> on_exit) {
  auto sidecar = std::make_unique<SidecarImpl>(loop, std::move(config), std::move(on_exit));
  PATELLA_RETURN_IF_ERROR(sidecar->Begin());
  return absl::StatusOr<std::unique_ptr<Sidecar>>(std::move(sidecar));
}

}  // namespace patella::sidecar
