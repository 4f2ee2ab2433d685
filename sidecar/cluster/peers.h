// The gRPC service TunerPeer: each sidecar answers with its report, the elected one asks all.
//
// With certificates: mutual TLS, both sides signed by the same authority. The files are read again when they change (a renewed Secret), for
// new connections. Without them: plain text, which is meant for loopback. Thread-safe.
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "lib/base/clock.h"
#include "sidecar/cluster/report.h"

namespace patella::sidecar {

struct PeerOptions {
  std::string listen;        // "0.0.0.0:8082"; port 0: chosen by the kernel
  std::string certificates;  // folder with ca.crt, tls.crt and tls.key; "": plain text
  // Whom to ask: addresses, comma-separated; or a headless Service's DNS name and port, "NAME-pods.NS.svc:8082", which is each of its pods.
  std::string peers;
  std::string server_name;                      // that the certificates are made out to: "NAME-pods.NS.svc"
  Duration patience = std::chrono::seconds(1);  // of Ask, for all answers together
};

class Peers {
 public:
  // `own` is called on gRPC's threads. AlreadyExists if the address is taken; FailedPrecondition if a certificate cannot be read.
  static absl::StatusOr<std::unique_ptr<Peers>> Start(PeerOptions options, std::function<PeerReport()> own);
  virtual ~Peers() = default;

  // Reports of all that answer in time, without `self`. Blocks.
  virtual std::vector<PeerReport> Ask(const std::string& self) = 0;
  // Looks whether the certificates were renewed. Once a minute is enough; on the thread that asks.
  virtual void FollowCertificates() = 0;
  virtual int port() const = 0;
};

}  // namespace patella::sidecar
