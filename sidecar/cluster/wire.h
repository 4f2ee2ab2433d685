// A replica's report as the message of TunerPeer, and back. Pure; what comes in is checked by who uses it (Usable, in learned.h).
#pragma once

#include "sidecar/cluster/report.h"

namespace patella::sidecar {
namespace v1 {
class GetReportResponse;
}  // namespace v1

void ToWire(const PeerReport& report, v1::GetReportResponse& out);
PeerReport FromWire(const v1::GetReportResponse& in);

}  // namespace patella::sidecar
