#include "cli/demo/engine_limit.h"

#include <grpcpp/grpcpp.h>

#include <chrono>

#include "lib/base/status_macros.h"
#include "lib/base/text.h"
#include "patella/engine/v1/engine.grpc.pb.h"

namespace patella::cli {
namespace {

using engine::v1::EngineControl;

constexpr auto kPatience = std::chrono::seconds(2);

absl::Status ToStatus(const grpc::Status& status) {
  if (status.ok()) return absl::OkStatus();
  return absl::UnavailableError(StrCat("the engine's control socket: ", status.error_message()));
}

class EngineLimitImpl final : public EngineLimit {
 public:
  explicit EngineLimitImpl(const std::string& socket_path)
      : stub_(EngineControl::NewStub(grpc::CreateChannel("unix:" + socket_path, grpc::InsecureChannelCredentials()))) {}

  absl::StatusOr<int> Get() override {
    grpc::ClientContext context;
    context.set_deadline(std::chrono::system_clock::now() + kPatience);
    context.set_wait_for_ready(true);
    engine::v1::GetInfoResponse response;
    PATELLA_RETURN_IF_ERROR(ToStatus(stub_->GetInfo(&context, {}, &response)));
    return response.limits().max_concurrent_requests();
  }

  absl::Status Set(int max_concurrent_requests) override {
    grpc::ClientContext context;
    context.set_deadline(std::chrono::system_clock::now() + kPatience);
    engine::v1::SetLimitsRequest request;
    request.mutable_limits()->set_max_concurrent_requests(max_concurrent_requests);
    engine::v1::SetLimitsResponse response;
    return ToStatus(stub_->SetLimits(&context, request, &response));
  }

 private:
  std::unique_ptr<EngineControl::Stub> stub_;
};

}  // namespace

absl::StatusOr<std::unique_ptr<EngineLimit>> EngineLimit::Connect(const std::string& socket_path) {
  auto limit = std::make_unique<EngineLimitImpl>(socket_path);
  PATELLA_RETURN_IF_ERROR(limit->Get().status());
  return limit;
}

}  // namespace patella::cli
