// EngineControl over a real Unix socket, as the sidecar uses it.
#include "engine/serve/control.h"

#include <grpcpp/grpcpp.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <string>

#include "patella/engine/v1/engine.grpc.pb.h"

namespace patella::engine {
namespace {

namespace v1 = patella::engine::v1;

class ZeroExecutor final : public Executor {
 public:
  absl::Status Forward(std::span<const StepItem> items, std::vector<float>* logits) override {
    size_t rows = 0;
    for (const StepItem& item : items) rows += LogitRows(item);
    logits->assign(rows * 8, 0);
    most_rows = std::max(most_rows, rows);
    return absl::OkStatus();
  }
  int vocab_size() const override { return 8; }
  Capacity capacity() const override { return {.block_size = 16, .blocks = 100, .max_tokens_per_forward = 64}; }
  size_t most_rows = 0;
};

class ControlTest : public testing::Test {
 protected:
  ControlTest()
      : path_("/tmp/patella-control-" + std::to_string(getpid()) + ".sock"),
        engine_(
            executor_, {.block_size = 16, .blocks = 100, .max_tokens_per_forward = 64},
            {.max_concurrent_requests = 8, .max_batch_prefill_tokens = 64}, [](int32_t) { return false; },
            [](std::vector<Event>) {}) {
    auto server = ControlServer::Listen(
        path_, engine_, {.model_id = "m.gguf", .version = "1.2", .max_input_tokens = 99, .max_total_tokens = 200});
    EXPECT_TRUE(server.ok()) << server.status();
    if (server.ok()) server_ = *std::move(server);
    stub_ = v1::EngineControl::NewStub(grpc::CreateChannel("unix:" + path_, grpc::InsecureChannelCredentials()));
  }

  grpc::Status Set(const v1::Limits& limits, uint64_t expected = 0) {
    grpc::ClientContext context;
    v1::SetLimitsRequest request;
    *request.mutable_limits() = limits;
    request.set_expected_generation(expected);
    return stub_->SetLimits(&context, request, &answer_);
  }

  ZeroExecutor executor_;
  const std::string path_;
  EngineLoop engine_;
  std::unique_ptr<ControlServer> server_;
  std::unique_ptr<v1::EngineControl::Stub> stub_;
  v1::SetLimitsResponse answer_;
};

TEST_F(ControlTest, InfoNamesTheExactKvCapacity) {
  grpc::ClientContext context;
  v1::GetInfoResponse info;
  ASSERT_TRUE(stub_->GetInfo(&context, {}, &info).ok());
  EXPECT_EQ(info.kv_capacity_tokens(), 1600);
  EXPECT_EQ(info.kv_block_size(), 16);
  EXPECT_EQ(info.max_total_tokens(), 200);
  EXPECT_EQ(info.version(), "1.2");
  EXPECT_EQ(info.limits().max_concurrent_requests(), 8);
  EXPECT_EQ(info.limits_generation(), 1u);
}

TEST_F(ControlTest, LimitsChangeTogetherAndCountTheirGeneration) {
  v1::Limits limits;
  limits.set_max_concurrent_requests(21);
  ASSERT_TRUE(Set(limits).ok());
  EXPECT_EQ(answer_.generation(), 2u);
  EXPECT_EQ(answer_.limits().max_concurrent_requests(), 21);
  EXPECT_EQ(answer_.limits().max_batch_prefill_tokens(), 64);  // left 0: kept
  EXPECT_EQ(engine_.limits().limits.max_concurrent_requests, 21);
}

TEST_F(ControlTest, AStaleGenerationIsRefusedAndChangesNothing) {
  v1::Limits limits;
  limits.set_max_concurrent_requests(21);
  ASSERT_TRUE(Set(limits, 1).ok());
  limits.set_max_concurrent_requests(5);
  const grpc::Status stale = Set(limits, 1);
  EXPECT_EQ(stale.error_code(), grpc::StatusCode::ABORTED);
  EXPECT_NE(stale.error_message().find("generation 2"), std::string::npos) << stale.error_message();
  EXPECT_EQ(engine_.limits().limits.max_concurrent_requests, 21);
}

TEST_F(ControlTest, WhatCannotChangeLiveIsRefusedWithTheReason) {
  v1::Limits limits;
  limits.set_max_batch_prefill_tokens(65);
  const grpc::Status refused = Set(limits);
  EXPECT_EQ(refused.error_code(), grpc::StatusCode::FAILED_PRECONDITION);
  EXPECT_NE(refused.error_message().find("restart with a larger MAX_BATCH_PREFILL_TOKENS"), std::string::npos)
      << refused.error_message();
}

TEST_F(ControlTest, ABatchSizeCanBeUnlimitedAgain) {
  v1::Limits limits;
  limits.set_max_batch_size(3);
  ASSERT_TRUE(Set(limits).ok());
  EXPECT_EQ(engine_.limits().limits.max_batch_size, 3);
  limits.set_max_batch_size(-1);
  ASSERT_TRUE(Set(limits).ok());
  EXPECT_EQ(engine_.limits().limits.max_batch_size, 0);
}

TEST_F(ControlTest, StatisticsAreStreamedUntilTheCallerCancels) {
  grpc::ClientContext context;
  v1::WatchStatsRequest request;
  request.set_interval_ms(100);
  const auto stream = stub_->WatchStats(&context, request);
  v1::WatchStatsResponse stats;
  ASSERT_TRUE(stream->Read(&stats));
  EXPECT_EQ(stats.kv_tokens_capacity(), 1600);
  ASSERT_TRUE(stream->Read(&stats));
  context.TryCancel();
  while (stream->Read(&stats)) {
  }
  EXPECT_EQ(stream->Finish().error_code(), grpc::StatusCode::CANCELLED);
}

TEST_F(ControlTest, ASocketInAMissingFolderIsNamed) {
  const auto server = ControlServer::Listen("/nowhere/at/all.sock", engine_, {});
  ASSERT_FALSE(server.ok());
  EXPECT_NE(server.status().message().find("/nowhere/at/all.sock"), std::string_view::npos);
}

TEST_F(ControlTest, WarmUpComputesTheLargestDecodeBatch) {
  ASSERT_TRUE(engine_.WarmUp().ok());
  EXPECT_EQ(executor_.most_rows, 8u);
}

}  // namespace
}  // namespace patella::engine
