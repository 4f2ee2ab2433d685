// The control plane that CTest starts for tests/integration does what those tests rely on.
#include "tests/integration/control_plane.h"

#include <gtest/gtest.h>

namespace patella::integration {
namespace {

TEST(ControlPlaneTest, ANamespaceHoldsObjectsAndTheControllersWork) {
  TestNamespace ns;
  ns.Kubectl({"create", "deployment", "web", "--image=none", "--replicas=2"});
  EXPECT_TRUE(Eventually([&] {
    return ns.Kubectl({"get", "pods", "-o", "name"}).find("pod/web-") != std::string::npos;
  }));
  ns.Kubectl({"delete", "deployment", "web"});
  EXPECT_TRUE(Eventually([&] { return ns.Kubectl({"get", "pods", "-o", "name"}).empty(); })) << "garbage collection";
}

TEST(ControlPlaneTest, AUserMayDoOnlyWhatARoleSays) {
  TestNamespace ns;
  auto list = [&] { return RunKubectl({"get", "configmaps", "--namespace", ns.name()}, "", UserKubeconfig()); };
  EXPECT_NE(list().out.find("forbidden"), std::string::npos);
  ns.Kubectl({"create", "role", "reader", "--verb=list", "--resource=configmaps"});
  ns.Kubectl({"create", "rolebinding", "reader", "--role=reader", "--user=test-user"});
  EXPECT_TRUE(Eventually([&] { return list().exit_code == 0; }));
}

}  // namespace
}  // namespace patella::integration
