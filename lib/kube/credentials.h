// Credentials in use: the token and certificates of a ClusterAccess, read again as they are renewed.
//
// Token files are read again every 60 s (a failed read keeps the last token); after a 401 a token read before that
// request is dropped. Certificates and CA are read again every 5 minutes and after a failed handshake; a change raises
// generation, upon which the transport opens new connections. Exec plugins run with the first request, when their
// credentials have expired, and once after a 401. Thread-safe.
#pragma once

#include <atomic>
#include <cstdint>
#include <memory>
#include <mutex>
#include <string>

#include "absl/status/statusor.h"
#include "lib/base/clock.h"
#include "lib/kube/kubeconfig.h"

namespace patella::kube {

struct TlsMaterial {
  uint64_t generation = 0;  // grows with every change
  std::string ca_pem;       // "": the system's CAs
  std::string client_certificate_pem, client_key_pem;
  std::string server_name;  // instead of the host of the URL; ""
  bool skip_verify = false;
};

class Credentials {
 public:
  // Reads everything once, so that a wrong path is told at start. `clock` outlives the value.
  static absl::StatusOr<std::shared_ptr<Credentials>> Load(ClusterAccess access, const Clock& clock);

  const ClusterAccess& access() const { return access_; }

  // Value of the header Authorization; "" if the client certificate is all there is. May run an exec plugin (blocking).
  absl::StatusOr<std::string> Authorization();
  // Asked for after Authorization, with each request: a plugin may have brought a certificate.
  absl::StatusOr<TlsMaterial> Tls();

  // The server said 401 to a request that began at `request_began`: forget credentials older than that.
  void Rejected(TimePoint request_began);
  // TLS failed: the next Tls() reads the files again, for the server may have changed its CA. Never blocks.
  void TlsFailed() { tls_failed_ = true; }

 private:
  Credentials(ClusterAccess access, const Clock& clock) : access_(std::move(access)), clock_(clock) {}
  absl::Status RefreshToken(TimePoint now);
  absl::Status RefreshTls(TimePoint now);
  absl::Status RunExec(TimePoint now);

  const ClusterAccess access_;
  const Clock& clock_;
  std::mutex mutex_;
  std::string token_;
  TimePoint token_read_{};
  bool token_valid_ = false;
  TlsMaterial tls_;
  TimePoint tls_read_{};
  std::atomic<bool> tls_failed_ = false;
  std::string exec_certificate_, exec_key_;
  TimePoint exec_expires_ = TimePoint::max();
};

}  // namespace patella::kube
