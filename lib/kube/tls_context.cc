#include "lib/kube/tls_context.h"

#include <openssl/err.h>
#include <openssl/pem.h>

#include "lib/base/text.h"

namespace patella::kube {
namespace {

using Bio = OpenSslPtr<BIO, BIO_free>;

Bio ReadOnly(const std::string& text) { return Bio(BIO_new_mem_buf(text.data(), static_cast<int>(text.size()))); }

// SSL_CERT_FILE leads nowhere by now (InitTransport), so the bundle is named here.
constexpr const char* kSystemBundles[] = {"/etc/ssl/certs/ca-certificates.crt", "/etc/pki/tls/certs/ca-bundle.crt",
                                          "/etc/ssl/cert.pem"};

int NoPassword(char*, int, int, void*) { return -1; }  // never ask a terminal

}  // namespace

std::string TlsReason(unsigned long code) {
  const char* reason = ERR_reason_error_string(code);
  return reason == nullptr ? "" : reason;
}

absl::Status TlsContext::TakeCa(const std::string& pem) {
  store_.reset(X509_STORE_new());
  if (pem.empty()) {
    for (const char* bundle : kSystemBundles) {
      if (X509_STORE_load_file(store_.get(), bundle) == 1) break;
    }
    ERR_clear_error();
    return absl::OkStatus();
  }
  const Bio bio = ReadOnly(pem);
  int count = 0;
  while (const Certificate certificate{PEM_read_bio_X509(bio.get(), nullptr, NoPassword, nullptr)}) {
    X509_STORE_add_cert(store_.get(), certificate.get());
    ++count;
  }
  ERR_clear_error();
  if (count == 0) return absl::InvalidArgumentError("the certificate authority holds no PEM certificate");
  return absl::OkStatus();
}

absl::Status TlsContext::TakeClientCertificate(const std::string& certificate_pem, const std::string& key_pem) {
  if (certificate_pem.empty()) return absl::OkStatus();
  const Bio certificates = ReadOnly(certificate_pem);
  certificate_.reset(PEM_read_bio_X509(certificates.get(), nullptr, NoPassword, nullptr));
  if (certificate_ == nullptr) {
    ERR_clear_error();
    return absl::InvalidArgumentError("the client certificate is no PEM certificate");
  }
  while (Certificate next{PEM_read_bio_X509(certificates.get(), nullptr, NoPassword, nullptr)}) {
    chain_.push_back(std::move(next));
  }
  key_.reset(PEM_read_bio_PrivateKey(ReadOnly(key_pem).get(), nullptr, NoPassword, nullptr));
  ERR_clear_error();
  if (key_ == nullptr) return absl::InvalidArgumentError("the client key is no PEM private key, or has a password");
  const bool match = X509_check_private_key(certificate_.get(), key_.get()) == 1;
  ERR_clear_error();
  if (!match) return absl::InvalidArgumentError("the client key does not belong to the client certificate");
  return absl::OkStatus();
}

absl::StatusOr<std::shared_ptr<const TlsContext>> TlsContext::Make(const TlsMaterial& material,
                                                                   std::string_view source) {
  const auto context = std::make_shared<TlsContext>();
  context->skip_verify_ = material.skip_verify;
  context->server_name_ = material.server_name;
  absl::Status status = context->TakeCa(material.ca_pem);
  if (status.ok()) {
    status = context->TakeClientCertificate(material.client_certificate_pem, material.client_key_pem);
  }
  if (!status.ok()) return absl::InvalidArgumentError(StrCat(source, ": ", status.message()));
  return std::shared_ptr<const TlsContext>(context);
}

void TlsContext::Apply(SSL_CTX* context) const {
  SSL_CTX_set1_cert_store(context, store_.get());
  SSL_CTX_set_min_proto_version(context, TLS1_2_VERSION);
  if (certificate_ == nullptr) return;
  SSL_CTX_use_certificate(context, certificate_.get());
  for (const Certificate& next : chain_) SSL_CTX_add1_chain_cert(context, next.get());
  SSL_CTX_use_PrivateKey(context, key_.get());
}

}  // namespace patella::kube
