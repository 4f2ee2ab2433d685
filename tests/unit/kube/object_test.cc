#include "lib/kube/object.h"

#include <gtest/gtest.h>

#include "lib/kube/api_error.h"

namespace patella::kube {
namespace {

TEST(ObjectTest, KeepsTheBytesButManagedFieldsAndIndexesWhatControllersAsk) {
  const auto object =
      Object::Parse(R"({"metadata":{"name":"a","namespace":"n","uid":"u","resourceVersion":"7","generation":3,
      "labels":{"x":"1","y":"\u00e4"},"managedFields":[{"manager":"m"}],
      "ownerReferences":[{"kind":"Other","name":"o","uid":"w"},{"kind":"Owner","name":"p","uid":"v","controller":true}]},
      "spec":{"replicas":2}})",
                    &kDeployments);
  ASSERT_TRUE(object.ok()) << object.status();
  EXPECT_EQ((*object)->key(), (ObjectKey{"n", "a"}));
  EXPECT_EQ((*object)->api_version(), "apps/v1");
  EXPECT_EQ((*object)->kind(), "Deployment");
  EXPECT_EQ((*object)->generation(), 3);
  EXPECT_EQ((*object)->label("y"), "ä");
  EXPECT_EQ((*object)->label("z"), "");
  EXPECT_EQ((*object)->controller_uid(), "v");
  EXPECT_EQ((*object)->controller_kind(), "Owner");
  EXPECT_EQ((*object)->json().find("managedFields"), std::string_view::npos);
  EXPECT_NE((*object)->json().find("\"replicas\":2"), std::string_view::npos);
}

TEST(ObjectTest, WhatIsNoObjectIsRefused) {
  for (const char* text : {"", "[]", "{", "{\"metadata\":1}", "null"}) EXPECT_FALSE(Object::Parse(text).ok()) << text;
}

TEST(ObjectTest, PathsAreThoseOfTheApiServer) {
  EXPECT_EQ(ResourcePath(kDeployments, "a b", "n", "status"), "/apis/apps/v1/namespaces/a%20b/deployments/n/status");
  EXPECT_EQ(ResourcePath(kConfigMaps, ""), "/api/v1/configmaps");
  EXPECT_EQ(ResourcePath(kNodes, "ignored", "n"), "/api/v1/nodes/n");
  EXPECT_EQ(QualifiedName(kDeployments), "deployments.apps");
}

TEST(ObjectTest, ResourceVersionsCompareAsNumbers) {
  EXPECT_EQ(CompareResourceVersions("9", "10"), -1);
  EXPECT_EQ(CompareResourceVersions("10", "10"), 0);
  EXPECT_EQ(CompareResourceVersions("11", "10"), 1);
  EXPECT_EQ(CompareResourceVersions("x", "10"), 2);
}

TEST(ApiErrorTest, TheApiServersStatusTravelsInTheStatus) {
  const ApiError error = ParseApiError(409, R"({"kind":"Status","reason":"Conflict","message":"Apply failed",
      "details":{"causes":[{"reason":"FieldManagerConflict","message":"conflict with \"kubectl\"","field":".spec.replicas"}]}})");
  const absl::Status status = ToStatus(error, {"apply", "deployments.apps", "", "n", "a", ""});
  EXPECT_TRUE(IsConflict(status));
  const auto back = ApiErrorOf(status);
  ASSERT_TRUE(back.has_value());
  ASSERT_EQ(back->causes.size(), 1u);
  EXPECT_EQ(back->causes[0].field, ".spec.replicas");
  EXPECT_NE(std::string(status.message()).find("kubectl"), std::string::npos) << status;
}

TEST(ApiErrorTest, ForbiddenNamesTheVerbAndTheRemedy) {
  const absl::Status status = ToStatus(ParseApiError(403, "{\"reason\":\"Forbidden\",\"message\":\"no\"}"),
                                       {"list", "nodes", "", "", "", "service account a/b"});
  EXPECT_TRUE(IsForbidden(status));
  EXPECT_NE(std::string(status.message()).find("list"), std::string::npos);
  EXPECT_NE(std::string(status.message()).find("nodes"), std::string::npos);
}

TEST(ApiErrorTest, AnExpiredVersionIsKnownInBothShapes) {
  EXPECT_TRUE(IsExpired(ToStatus(ParseApiError(410, ""), {})));
  EXPECT_TRUE(IsExpired(ToStatus(ParseApiError(200, R"({"kind":"Status","code":410,"reason":"Expired"})"), {})));
}

}  // namespace
}  // namespace patella::kube
