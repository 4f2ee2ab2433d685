#include "lib/wire/errors.h"

#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

namespace patella::wire {
namespace {

using Json = nlohmann::json;

TEST(ErrorResponseTest, SpeaksTgisDialectOutsideV1) {
  const http::Response response = ErrorResponse(ErrorKind::kOverloaded, "Model is overloaded", "/generate");
  EXPECT_EQ(response.status, 429);
  EXPECT_EQ(response.body, R"({"error":"Model is overloaded","error_type":"overloaded"})");
  EXPECT_EQ(response.headers.Get("Retry-After"), "1");
  EXPECT_EQ(response.headers.Get("Content-Type"), "application/json");
}

TEST(ErrorResponseTest, SpeaksOpenAisDialectOnV1) {
  const http::Response response = ErrorResponse(ErrorKind::kValidation, "too long", "/v1/completions");
  EXPECT_EQ(response.status, 422);
  EXPECT_EQ(Json::parse(response.body), Json::parse(R"({"error":{"message":"too long","type":"invalid_request_error",
                                                                 "param":null,"code":"validation"}})"));
  EXPECT_FALSE(response.headers.Has("Retry-After"));
  EXPECT_FALSE(IsOpenAiPath("/v10/x"));
}

TEST(ErrorResponseTest, RetryAfterIsWholeSecondsAndAtLeastOne) {
  EXPECT_EQ(ErrorResponse(ErrorKind::kUnavailable, "", "/", 2.1).headers.Get("Retry-After"), "3");
  EXPECT_EQ(ErrorResponse(ErrorKind::kUnavailable, "", "/", 0).headers.Get("Retry-After"), "1");
  EXPECT_EQ(ErrorResponse(ErrorKind::kOverloaded, "", "/", std::nan("")).headers.Get("Retry-After"), "1");
}

TEST(ErrorResponseTest, AMessageMayQuoteAnyBytes) {
  const http::Response response = ErrorResponse(ErrorKind::kBadRequest, "bad \"\xff\n", "/generate");
  EXPECT_NO_THROW({ EXPECT_TRUE(Json::parse(response.body).contains("error")); });
}

}  // namespace
}  // namespace patella::wire
