// Clients of the control plane that CTest started, as the tests of lib/kube want them.
#pragma once

#include <memory>
#include <utility>

#include "lib/kube/kubeconfig.h"
#include "lib/kube/rest_client.h"
#include "tests/integration/control_plane.h"

namespace patella::integration {

// `clock` outlives what comes back. Errors are those of credentials and TLS set-up: nothing is sent yet.
inline absl::StatusOr<kube::Connection> ConnectWith(kube::ClusterAccess access, const Clock& clock) {
  kube::Connection connection;
  auto credentials = kube::Credentials::Load(std::move(access), clock);
  if (!credentials.ok()) return credentials.status();
  connection.credentials = *credentials;
  auto transport = kube::MakeTransport(connection.credentials);
  if (!transport.ok()) return transport.status();
  connection.transport = std::move(*transport);
  connection.client = std::make_unique<kube::RestClient>(connection.transport.get(), connection.credentials, clock);
  return connection;
}

inline kube::ClusterAccess Admin() { return *kube::LoadKubeconfig(AdminKubeconfig()); }

// The same server, without any way to say who we are.
inline kube::ClusterAccess Nobody() {
  const kube::ClusterAccess admin = Admin();
  kube::ClusterAccess access;
  access.server = admin.server;
  access.ca_pem = admin.ca_pem;
  access.ca_file = admin.ca_file;
  access.source = "the test";
  return access;
}

inline int PortOf(const std::string& server) { return std::stoi(server.substr(server.rfind(':') + 1)); }

}  // namespace patella::integration
