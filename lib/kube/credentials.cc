#include "lib/kube/credentials.h"

#include "absl/strings/escaping.h"
#include "lib/base/logging.h"
#include "lib/base/status_macros.h"
#include "lib/base/text.h"
#include "lib/kube/exec_plugin.h"
#include "lib/kube/files.h"

namespace patella::kube {
namespace {

constexpr Duration kTokenPeriod = std::chrono::seconds(60);
constexpr Duration kTlsPeriod = std::chrono::minutes(5);

// `pem` if it is given, else what is in `file` now.
absl::StatusOr<std::string> PemOrFile(const std::string& pem, const std::string& file) {
  if (!pem.empty() || file.empty()) return pem;
  return ReadWholeFile(file);
}

}  // namespace

absl::StatusOr<std::shared_ptr<Credentials>> Credentials::Load(ClusterAccess access, const Clock& clock) {
  std::shared_ptr<Credentials> credentials(new Credentials(std::move(access), clock));
  const std::lock_guard lock(credentials->mutex_);
  // A plugin runs with the first request, not here: it may ask a person or the network.
  if (!credentials->access_.exec) PATELLA_RETURN_IF_ERROR(credentials->RefreshToken(clock.Now()));
  PATELLA_RETURN_IF_ERROR(credentials->RefreshTls(clock.Now()));
  return credentials;
}

absl::Status Credentials::RunExec(TimePoint now) {
  PATELLA_ASSIGN_OR_RETURN(ExecCredential fresh, RunExecPlugin(*access_.exec, access_));
  token_ = std::move(fresh.token);
  token_read_ = now;
  token_valid_ = true;
  exec_expires_ = fresh.valid_for ? now + *fresh.valid_for : TimePoint::max();
  if (fresh.client_certificate_pem != exec_certificate_ || fresh.client_key_pem != exec_key_) {
    exec_certificate_ = std::move(fresh.client_certificate_pem);
    exec_key_ = std::move(fresh.client_key_pem);
    tls_read_ = {};  // RefreshTls takes them at once
  }
  return absl::OkStatus();
}

absl::Status Credentials::RefreshToken(TimePoint now) {
  if (access_.exec) return token_valid_ && now < exec_expires_ ? absl::OkStatus() : RunExec(now);
  if (access_.token_file.empty()) return absl::OkStatus();
  if (token_valid_ && now - token_read_ < kTokenPeriod) return absl::OkStatus();
  const absl::StatusOr<std::string> read = ReadWholeFile(access_.token_file);
  const std::string fresh = read.ok() ? std::string(Strip(*read)) : "";
  if (fresh.empty()) {
    const absl::Status why =
        read.ok() ? absl::FailedPreconditionError(StrCat(access_.token_file, " is empty")) : read.status();
    if (token_.empty()) return why;
    LogWarning("token not renewed", {{"file", access_.token_file}, {"error", why}});  // the last one may still do
    token_read_ = now;
    token_valid_ = true;
    return absl::OkStatus();
  }
  token_ = fresh;
  token_read_ = now;
  token_valid_ = true;
  return absl::OkStatus();
}

absl::Status Credentials::RefreshTls(TimePoint now) {
  const bool failed = tls_failed_.exchange(false);
  const bool fresh_enough = tls_read_ != TimePoint{} && now - tls_read_ < kTlsPeriod;
  if (tls_.generation != 0 && fresh_enough && !failed) return absl::OkStatus();
  TlsMaterial fresh;
  fresh.server_name = access_.tls_server_name;
  fresh.skip_verify = access_.insecure_skip_tls_verify;
  const auto read = [&]() -> absl::Status {
    PATELLA_ASSIGN_OR_RETURN(fresh.ca_pem, PemOrFile(access_.ca_pem, access_.ca_file));
    PATELLA_ASSIGN_OR_RETURN(fresh.client_certificate_pem,
                             PemOrFile(access_.client_certificate_pem, access_.client_certificate_file));
    PATELLA_ASSIGN_OR_RETURN(fresh.client_key_pem, PemOrFile(access_.client_key_pem, access_.client_key_file));
    return absl::OkStatus();
  };
  if (absl::Status status = read(); !status.ok()) {
    if (tls_.generation == 0) return status;
    LogWarning("certificates not renewed", {{"error", status}});
    tls_read_ = now;
    return absl::OkStatus();
  }
  if (!exec_certificate_.empty()) {
    fresh.client_certificate_pem = exec_certificate_;
    fresh.client_key_pem = exec_key_;
  }
  tls_read_ = now;
  const bool same = fresh.ca_pem == tls_.ca_pem && fresh.client_certificate_pem == tls_.client_certificate_pem &&
                    fresh.client_key_pem == tls_.client_key_pem;
  if (tls_.generation != 0 && same) return absl::OkStatus();
  fresh.generation = tls_.generation + 1;
  tls_ = std::move(fresh);
  return absl::OkStatus();
}

absl::StatusOr<std::string> Credentials::Authorization() {
  const std::lock_guard lock(mutex_);
  PATELLA_RETURN_IF_ERROR(RefreshToken(clock_.Now()));
  const std::string& token = access_.exec || !access_.token_file.empty() ? token_ : access_.token;
  if (!token.empty()) return StrCat("Bearer ", token);
  if (!access_.username.empty()) {
    return StrCat("Basic ", absl::Base64Escape(StrCat(access_.username, ":", access_.password)));
  }
  return std::string();
}

absl::StatusOr<TlsMaterial> Credentials::Tls() {
  const std::lock_guard lock(mutex_);
  PATELLA_RETURN_IF_ERROR(RefreshTls(clock_.Now()));
  return tls_;
}

void Credentials::Rejected(TimePoint request_began) {
  const std::lock_guard lock(mutex_);
  if (token_read_ <= request_began) token_valid_ = false;
}

}  // namespace patella::kube
