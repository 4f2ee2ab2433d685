#include "sidecar/cluster/peers.h"

#include <grpcpp/grpcpp.h>
#include <netdb.h>
#include <sys/socket.h>

#include <algorithm>
#include <fstream>
#include <map>
#include <mutex>
#include <set>
#include <sstream>
#include <thread>

#include "lib/base/logging.h"
#include "lib/base/status_macros.h"
#include "lib/base/text.h"
#include "patella/sidecar/v1/peer.grpc.pb.h"
#include "sidecar/cluster/wire.h"

namespace patella::sidecar {
namespace {

namespace pb = patella::sidecar::v1;
constexpr size_t kMostPeers = 256;

struct Certificates {
  std::string ca, certificate, key;
  bool operator==(const Certificates&) const = default;
};

absl::StatusOr<std::string> ReadFile(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  std::stringstream text;
  if (!file || !(text << file.rdbuf()))
    return absl::FailedPreconditionError(
        StrCat("cannot read the peers' certificate file ", path, " (the Secret NAME-peers, mounted)"));
  return text.str();
}

absl::StatusOr<Certificates> Read(const std::string& folder) {
  Certificates out;
  PATELLA_ASSIGN_OR_RETURN(out.ca, ReadFile(folder + "/ca.crt"));
  PATELLA_ASSIGN_OR_RETURN(out.certificate, ReadFile(folder + "/tls.crt"));
  PATELLA_ASSIGN_OR_RETURN(out.key, ReadFile(folder + "/tls.key"));
  return out;
}

std::shared_ptr<grpc::ServerCredentials> ServerSide(const Certificates& c) {
  grpc::SslServerCredentialsOptions options(GRPC_SSL_REQUEST_AND_REQUIRE_CLIENT_CERTIFICATE_AND_VERIFY);
  options.pem_root_certs = c.ca;
  options.pem_key_cert_pairs = {{c.key, c.certificate}};
  return grpc::SslServerCredentials(options);
}

// "host:port" -> numeric addresses; what cannot be resolved now is empty, since pods come and go.
std::vector<std::string> Resolve(const std::string& host, const std::string& port) {
  addrinfo hints{};
  hints.ai_socktype = SOCK_STREAM;
  addrinfo* found = nullptr;
  std::vector<std::string> out;
  if (getaddrinfo(host.c_str(), port.c_str(), &hints, &found) != 0) return out;
  for (const addrinfo* a = found; a != nullptr; a = a->ai_next) {
    char text[NI_MAXHOST];
    if (getnameinfo(a->ai_addr, a->ai_addrlen, text, sizeof text, nullptr, 0, NI_NUMERICHOST) != 0) continue;
    out.push_back(a->ai_family == AF_INET6 ? StrCat("[", text, "]:", port) : StrCat(text, ":", port));
  }
  freeaddrinfo(found);
  return out;
}

class Service final : public pb::TunerPeer::Service {
 public:
  explicit Service(std::function<PeerReport()> own) : own_(std::move(own)) {}

  grpc::Status GetReport(grpc::ServerContext*, const pb::GetReportRequest*, pb::GetReportResponse* out) override {
    ToWire(own_(), *out);
    return grpc::Status::OK;
  }

 private:
  const std::function<PeerReport()> own_;
};

class GrpcPeers final : public Peers {
 public:
  GrpcPeers(PeerOptions options, std::function<PeerReport()> own)
      : options_(std::move(options)), service_(std::move(own)) {}

  ~GrpcPeers() override { Stop(); }

  absl::Status Begin() {
    if (!options_.certificates.empty()) {
      PATELLA_ASSIGN_OR_RETURN(certificates_, Read(options_.certificates));
      certified_ = true;
    }
    return Serve(options_.listen, certificates_);
  }

  std::vector<PeerReport> Ask(const std::string& self) override {
    const std::vector<std::string> addresses = Addresses();
    std::erase_if(stubs_, [&](const auto& s) {
      return std::find(addresses.begin(), addresses.end(), s.first) == addresses.end();
    });
    struct Call {
      grpc::ClientContext context;
      pb::GetReportResponse reply;
      grpc::Status status;
      std::unique_ptr<grpc::ClientAsyncResponseReader<pb::GetReportResponse>> reader;
    };
    grpc::CompletionQueue queue;
    std::vector<std::unique_ptr<Call>> calls;
    for (const std::string& address : addresses) {
      auto& stub = stubs_[address];
      if (stub == nullptr) stub = pb::TunerPeer::NewStub(Channel(address));
      auto call = std::make_unique<Call>();
      call->context.set_deadline(std::chrono::system_clock::now() + options_.patience);
      call->reader = stub->AsyncGetReport(&call->context, {}, &queue);
      call->reader->Finish(&call->reply, &call->status, call.get());
      calls.push_back(std::move(call));
    }
    for (size_t i = 0; i < calls.size(); ++i) {
      void* tag = nullptr;
      bool ok = false;
      if (!queue.Next(&tag, &ok)) break;
    }
    queue.Shutdown();
    std::vector<PeerReport> reports;
    std::set<std::string> seen{self};
    for (const auto& call : calls) {
      if (call->status.ok() && seen.insert(call->reply.pod()).second) reports.push_back(FromWire(call->reply));
    }
    return reports;
  }

  // A renewed Secret: the server begins anew on the same port, calls make new connections. If it cannot, for example because kubelet swapped
  // the files between two reads and the key is another certificate's, the old ones serve on and the next look tries again.
  void FollowCertificates() override {
    if (!certified_) return;
    const absl::StatusOr<Certificates> now = Read(options_.certificates);
    if (!now.ok() || (server_ != nullptr && *now == certificates_)) return;
    Stop();
    const std::string address = StrCat(options_.listen.substr(0, options_.listen.rfind(':')), ":", port_);
    if (const absl::Status status = Serve(address, *now); !status.ok()) {
      const bool old_serves = Serve(address, certificates_).ok();
      LogWarning("peers' server did not start with its new certificate; trying again at the next look",
                 {{"error", status}, {"old_certificate_serves", old_serves}});
      return;
    }
    certificates_ = *now;
    stubs_.clear();
    LogInfo("peers' certificate renewed");
  }

  int port() const override { return port_; }

 private:
  void Stop() {
    if (server_ != nullptr) server_->Shutdown(std::chrono::system_clock::now() + options_.patience);
    server_.reset();
  }

  // Leaves server_ null and port_ as it was if it fails.
  absl::Status Serve(const std::string& address, const Certificates& certificates) {
    int port = 0;
    grpc::ServerBuilder builder;
    builder.AddListeningPort(address, certified_ ? ServerSide(certificates) : grpc::InsecureServerCredentials(), &port);
    builder.AddChannelArgument(GRPC_ARG_ALLOW_REUSEPORT, 0);
    builder.SetMaxReceiveMessageSize(64 * 1024);
    builder.RegisterService(&service_);
    server_ = builder.BuildAndStart();
    if (server_ == nullptr || port == 0) {
      Stop();
      return absl::AlreadyExistsError(StrCat("cannot listen on ", address,
                                             " for the other sidecars: is it taken? (PEERS_LISTEN)",
                                             certified_ ? " Or do tls.crt and tls.key not belong together?" : ""));
    }
    port_ = port;
    return absl::OkStatus();
  }

  std::vector<std::string> Addresses() const {
    std::vector<std::string> out;
    for (const std::string_view part : Split(options_.peers, ',')) {
      const std::string address(Strip(part));
      const size_t colon = address.rfind(':');
      if (colon == std::string::npos) continue;
      for (std::string& found : Resolve(address.substr(0, colon), address.substr(colon + 1)))
        out.push_back(std::move(found));
    }
    std::sort(out.begin(), out.end());
    out.erase(std::unique(out.begin(), out.end()), out.end());
    if (out.size() > kMostPeers) out.resize(kMostPeers);
    return out;
  }

  std::shared_ptr<grpc::Channel> Channel(const std::string& address) const {
    grpc::ChannelArguments arguments;
    arguments.SetInt(GRPC_ARG_MAX_RECONNECT_BACKOFF_MS, 2000);
    if (!certified_) return grpc::CreateCustomChannel(address, grpc::InsecureChannelCredentials(), arguments);
    arguments.SetSslTargetNameOverride(options_.server_name);  // the certificate names the Service, not the pods
    grpc::SslCredentialsOptions options{certificates_.ca, certificates_.key, certificates_.certificate};
    return grpc::CreateCustomChannel(address, grpc::SslCredentials(options), arguments);
  }

  const PeerOptions options_;
  Service service_;
  bool certified_ = false;
  Certificates certificates_;
  std::unique_ptr<grpc::Server> server_;
  int port_ = 0;
  std::map<std::string, std::unique_ptr<pb::TunerPeer::Stub>> stubs_;
};

}  // namespace

absl::StatusOr<std::unique_ptr<Peers>> Peers::Start(PeerOptions options, std::function<PeerReport()> own) {
  auto peers = std::make_unique<GrpcPeers>(std::move(options), std::move(own));
  PATELLA_RETURN_IF_ERROR(peers->Begin());
  return absl::StatusOr<std::unique_ptr<Peers>>(std::move(peers));
}

}  // namespace patella::sidecar
