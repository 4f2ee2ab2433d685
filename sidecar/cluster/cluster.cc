#include "sidecar/cluster/cluster.h"

#include <atomic>
#include <condition_variable>
#include <mutex>
#include <thread>

#include "absl/time/clock.h"
#include "lib/api/parse.h"
#include "lib/base/logging.h"
#include "lib/base/status_macros.h"
#include "lib/base/text.h"
#include "lib/kube/cache.h"
#include "lib/kube/lease.h"
#include "lib/kube/reflector.h"
#include "lib/kube/rest_client.h"
#include "lib/kube/transport.h"
#include "sidecar/cluster/election.h"
#include "sidecar/cluster/handover.h"
#include "sidecar/cluster/peers.h"
#include "sidecar/cluster/publish.h"
#include "sidecar/cluster/write.h"

namespace patella::sidecar {
namespace {

constexpr auto kPublishPeriod = std::chrono::seconds(2);
constexpr auto kCertificatesPeriod = std::chrono::minutes(1);
constexpr auto kReportPeriod = std::chrono::seconds(1);

class Link final : public ClusterLink {
 public:
  Link(http::Loop& loop, ClusterOptions options, ClusterHooks hooks)
      : loop_(loop), options_(std::move(options)), hooks_(std::move(hooks)), cache_(kube::kInferenceDeployments) {}

  ~Link() override {
    *alive_ = false;
    {
      const std::lock_guard lock(mutex_);
      stopping_ = true;
      changed_.notify_all();
    }
    if (publisher_thread_.joinable()) publisher_thread_.join();
    peers_.reset();  // its server's threads call Own(), which needs members that would die before it
    if (elector_ != nullptr) elector_->Stop(/*release=*/true);
    if (reflector_ != nullptr) reflector_->Stop();
  }

  absl::Status Begin() {
    PATELLA_ASSIGN_OR_RETURN(connection_, kube::Connect(options_.kubeconfig, clock_,
                                                        {.user_agent = "patella-sidecar",
                                                         .field_manager = kAutotuner,
                                                         .call_timeout = std::chrono::seconds(5),
                                                         .total_timeout = std::chrono::seconds(6),
                                                         .max_retries = 1,
                                                         .metrics = options_.metrics}));
    Refresh();
    report_timer_ = loop_.Every(kReportPeriod, [this] { Refresh(); });
    PATELLA_ASSIGN_OR_RETURN(
        peers_, Peers::Start({.listen = options_.peers_listen,
                              .certificates = options_.peers_certificates,
                              .peers = options_.peers,
                              .server_name = StrCat(options_.deployment, "-pods.", options_.namespace_name, ".svc")},
                             [this] { return Own().first; }));
    cache_.AddHandler([this](const kube::Change& change) { OnChange(change); });
    reflector_ = std::make_unique<kube::Reflector>(
        connection_.client.get(), &cache_,
        kube::ReflectorOptions{.namespace_name = options_.namespace_name,
                               .field_selector = StrCat("metadata.name=", options_.deployment)},
        clock_);
    reflector_->Start();
    const kube::LeaseSettings lease = ElectionOf(options_.namespace_name, options_.deployment, options_.pod);
    PATELLA_RETURN_IF_ERROR(kube::CheckLeaseSettings(lease));
    kube::LeaderCallbacks callbacks;
    callbacks.on_started = [this] {
      LogInfo("elected: this sidecar publishes for the deployment", {{"deployment", options_.deployment}});
      Wake();
    };
    callbacks.on_stopped = [](const std::string& why) { LogInfo("no longer elected", {{"why", why}}); };
    elector_ = std::make_unique<kube::LeaderElector>(connection_.client.get(), lease, boot_clock_, std::move(callbacks),
                                                     options_.metrics);
    elector_->Start();
    publisher_thread_ = std::thread([this] { PublishForever(); });
    LogInfo("following the InferenceDeployment", {{"object", StrCat(options_.namespace_name, "/", options_.deployment)},
                                                  {"revision", options_.revision},
                                                  {"peers_port", peers_->port()}});
    return absl::OkStatus();
  }

  bool elected() const override { return elector_ != nullptr && elector_->IsLeader(); }

  void AskPeers(std::string key, std::function<void(const std::vector<Learned>&)> done) override {
    const std::lock_guard lock(mutex_);
    question_ = {std::move(key), std::move(done)};
    woken_ = true;
    changed_.notify_all();
  }

 private:
  void Wake() {
    const std::lock_guard lock(mutex_);
    woken_ = true;
    changed_.notify_all();
  }

  std::pair<PeerReport, TunerStory> Own() const {
    const std::lock_guard lock(mutex_);
    return {report_, story_};
  }

  // On the loop's thread: what other threads may know of this replica.
  void Refresh() {
    PeerReport report = hooks_.report();
    report.pod = options_.pod;
    report.revision = options_.revision;
    TunerStory story = hooks_.story();
    const std::lock_guard lock(mutex_);
    const bool news = report.limit != report_.limit || story.problem != story_.problem;
    report_ = std::move(report);
    story_ = std::move(story);
    if (!news) return;
    woken_ = true;
    changed_.notify_all();
  }

  // On the reflector's thread.
  void OnChange(const kube::Change& change) {
    if (change.after == nullptr) return;  // deleted: this pod goes as well
    absl::StatusOr<api::InferenceDeployment> object = api::ParseStored<api::InferenceDeployment>(change.after->json());
    if (!object.ok()) {
      // Each publication is a change: said once.
      if (std::exchange(unreadable_, object.status()) == object.status()) return;
      LogWarning("the InferenceDeployment cannot be read; going on with what it said before",
                 {{"error", object.status()}});
      return;
    }
    unreadable_ = absl::OkStatus();
    const ReplicaPolicy policy = PolicyOf(object->spec);
    {
      const std::lock_guard lock(mutex_);
      object_ = *std::move(object);
      if (policy_ == policy) return;
      policy_ = policy;
    }
    loop_.Post([this, alive = alive_, policy] {
      if (*alive) hooks_.on_policy(policy);
    });
  }

  struct Question {
    std::string key;
    std::function<void(const std::vector<Learned>&)> done;
  };

  // On the publishing thread, which is the one that talks to peers.
  void Answer(const Question& question) {
    const auto wait = [this](Duration pause) {
      std::unique_lock lock(mutex_);
      return !changed_.wait_for(lock, pause, [this] { return stopping_; });
    };
    std::vector<Learned> learned =
        AskForLearned(*peers_, {.pod = options_.pod, .revision = options_.revision, .key = question.key}, wait);
    LogInfo("asked the other replicas for what they have measured", {{"answers_to_begin_from", learned.size()}});
    loop_.Post([alive = alive_, done = question.done, learned = std::move(learned)] {
      if (*alive) done(learned);
    });
  }

  void PublishForever() {
    while (true) {
      std::optional<Question> question;
      std::optional<api::InferenceDeployment> object;
      PeerReport own;
      TunerStory story;
      {
        std::unique_lock lock(mutex_);
        changed_.wait_for(lock, kPublishPeriod, [this] { return stopping_ || woken_; });
        if (stopping_) return;
        woken_ = false;
        object = object_;
        own = report_;
        story = story_;
        question = std::exchange(question_, std::nullopt);
      }
      if (question) Answer(*question);
      if (const TimePoint now = clock_.Now(); now >= certificates_due_) {
        peers_->FollowCertificates();
        certificates_due_ = now + kCertificatesPeriod;
      }
      if (!object || !elected()) continue;
      std::vector<PeerReport> reports = peers_->Ask(options_.pod);
      reports.insert(reports.begin(), std::move(own));
      Publish(*object, reports, story);
    }
  }

  void Publish(const api::InferenceDeployment& object, const std::vector<PeerReport>& reports,
               const TunerStory& story) {
    const Publication out = publisher_.Publish(object, reports, story, Seconds(clock_.Now().time_since_epoch()),
                                               absl::ToUnixSeconds(absl::Now()));
    const absl::Status status = WritePublication(*connection_.client, object, out, publisher_);
    const std::string problem(ToStd(status.message()));
    if (!problem.empty() && problem != told_problem_)
      LogWarning("cannot publish; the limit stays in force, and it is tried again", {{"error", status}});
    if (problem.empty() && !told_problem_.empty()) LogInfo("publishing works again");
    told_problem_ = problem;
  }

  http::Loop& loop_;
  const ClusterOptions options_;
  const ClusterHooks hooks_;
  const std::shared_ptr<bool> alive_ = std::make_shared<bool>(true);  // the loop's thread's
  SteadyClock clock_;
  kube::BootClock boot_clock_;
  kube::Connection connection_;
  kube::Cache cache_;
  std::unique_ptr<kube::Reflector> reflector_;
  std::unique_ptr<kube::LeaderElector> elector_;
  std::unique_ptr<Peers> peers_;
  std::unique_ptr<http::Loop::Timer> report_timer_;

  mutable std::mutex mutex_;
  std::condition_variable changed_;
  bool stopping_ = false, woken_ = false;
  std::optional<api::InferenceDeployment> object_;
  std::optional<ReplicaPolicy> policy_;
  std::optional<Question> question_;
  PeerReport report_;
  TunerStory story_;

  std::thread publisher_thread_;
  TimePoint certificates_due_{};
  Publisher publisher_;  // this and the next: the publishing thread's
  std::string told_problem_;
  absl::Status unreadable_;  // of the reflector's thread
};

}  // namespace

absl::StatusOr<std::unique_ptr<ClusterLink>> ClusterLink::Start(http::Loop& loop, ClusterOptions options,
                                                                ClusterHooks hooks) {
  auto link = std::make_unique<Link>(loop, std::move(options), std::move(hooks));
  PATELLA_RETURN_IF_ERROR(link->Begin());
  return absl::StatusOr<std::unique_ptr<ClusterLink>>(std::move(link));
}

}  // namespace patella::sidecar
