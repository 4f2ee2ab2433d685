// Certificates and keys parsed once, to be given to each new connection. Immutable, so thread-safe.
#pragma once

#include <openssl/ssl.h>

#include <memory>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "lib/kube/credentials.h"
#include "lib/kube/openssl_ptr.h"

namespace patella::kube {

class TlsContext {
 public:
  // InvalidArgument tells which PEM is wrong: `source` names where it came from. Without a CA the system's bundle is
  // used.
  static absl::StatusOr<std::shared_ptr<const TlsContext>> Make(const TlsMaterial& material, std::string_view source);

  // CA store (shared, not copied), client certificate, TLS ≥ 1.2.
  void Apply(SSL_CTX* context) const;

  bool skip_verify() const { return skip_verify_; }
  const std::string& server_name() const { return server_name_; }

 private:
  using Store = OpenSslPtr<X509_STORE, X509_STORE_free>;
  using Certificate = OpenSslPtr<X509, X509_free>;
  using Key = OpenSslPtr<EVP_PKEY, EVP_PKEY_free>;

  absl::Status TakeCa(const std::string& pem);
  absl::Status TakeClientCertificate(const std::string& certificate_pem, const std::string& key_pem);

  Store store_;
  Certificate certificate_;
  std::vector<Certificate> chain_;
  Key key_;
  bool skip_verify_ = false;
  std::string server_name_;
};

// The reason of an OpenSSL error code in words; "" if it is none.
std::string TlsReason(unsigned long code);

}  // namespace patella::kube
