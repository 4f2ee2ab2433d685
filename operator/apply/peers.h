// Certificates by which the sidecars of one deployment know each other: an own CA, and one leaf for all, of 90 days.
//
// The CA's key is thrown away with the call: nobody can make further certificates with it. Renewed when a third of the time is left; the old CA
// stays trusted beside the new one, so that sidecars that have read the new files speak with those that have not. EC P-256. Pure but for the
// machine's entropy.
#pragma once

#include <chrono>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "operator/render/render.h"

namespace patella::apply {

using WallTime = std::chrono::system_clock::time_point;

// `old_ca`: PEM of the CA in use, of which the first certificate stays trusted; "" for none. Internal if OpenSSL fails, with its reason.
absl::StatusOr<render::PeerCertificates> MakePeerCertificates(const std::vector<std::string>& dns_names, WallTime now,
                                                              const std::string& old_ca = "");

// Also true if `in_use` is not a certificate for these names with its key and the CA that signed it: somebody changed it.
bool NeedsRenewal(const render::PeerCertificates& in_use, const std::vector<std::string>& dns_names, WallTime now);

// A Secret's data, decoded; "" if absent.
std::string SecretValue(std::string_view secret_json, const char* key);

}  // namespace patella::apply
