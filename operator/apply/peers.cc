#include "operator/apply/peers.h"

#include <openssl/bio.h>
#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/rand.h>
#include <openssl/x509.h>
#include <openssl/x509v3.h>

#include <memory>
#include <nlohmann/json.hpp>

#include "absl/strings/escaping.h"
#include "lib/base/status_macros.h"
#include "lib/base/text.h"
#include "lib/kube/openssl_ptr.h"

namespace patella::apply {
namespace {

constexpr long kDay = 24 * 3600;
constexpr long kValid = 90 * kDay;
constexpr long kRenewAt = 30 * kDay;  // left
constexpr long kSkew = 3600;          // clocks of nodes may be behind

using Key = kube::OpenSslPtr<EVP_PKEY, EVP_PKEY_free>;
using Certificate = kube::OpenSslPtr<X509, X509_free>;
using Extension = kube::OpenSslPtr<X509_EXTENSION, X509_EXTENSION_free>;
using Bio = kube::OpenSslPtr<BIO, BIO_free_all>;

absl::Status OpenSslError(std::string_view what) {
  const unsigned long code = ERR_get_error();
  const char* reason = ERR_reason_error_string(code);
  return absl::InternalError(
      StrCat("cannot make the peers' certificates: ", what, ": ", reason == nullptr ? "?" : reason));
}

std::string TextOf(BIO* bio) {
  char* data = nullptr;
  const long size = BIO_get_mem_data(bio, &data);
  return size > 0 ? std::string(data, static_cast<size_t>(size)) : "";
}

std::string PemOf(X509* certificate) {
  const Bio bio(BIO_new(BIO_s_mem()));
  return PEM_write_bio_X509(bio.get(), certificate) == 1 ? TextOf(bio.get()) : "";
}

std::string PemOf(EVP_PKEY* key) {
  const Bio bio(BIO_new(BIO_s_mem()));
  return PEM_write_bio_PrivateKey(bio.get(), key, nullptr, nullptr, 0, nullptr, nullptr) == 1 ? TextOf(bio.get()) : "";
}

int NoPassword(char*, int, int, void*) { return -1; }  // never ask a terminal

Certificate FirstOf(const std::string& pem) {
  const Bio bio(BIO_new_mem_buf(pem.data(), static_cast<int>(pem.size())));
  Certificate certificate(PEM_read_bio_X509(bio.get(), nullptr, nullptr, nullptr));
  ERR_clear_error();
  return certificate;
}

bool BelongTogether(X509* certificate, X509* ca, const std::string& key_pem) {
  const Bio bio(BIO_new_mem_buf(key_pem.data(), static_cast<int>(key_pem.size())));
  const Key key(PEM_read_bio_PrivateKey(bio.get(), nullptr, NoPassword, nullptr));
  const bool good = key != nullptr && X509_check_private_key(certificate, key.get()) == 1 &&
                    X509_verify(certificate, X509_get0_pubkey(ca)) == 1;
  ERR_clear_error();
  return good;
}

bool AddExtension(X509* certificate, X509* issuer, int nid, const std::string& value) {
  X509V3_CTX context;
  X509V3_set_ctx_nodb(&context);
  X509V3_set_ctx(&context, issuer, certificate, nullptr, nullptr, 0);
  const Extension extension(X509V3_EXT_conf_nid(nullptr, &context, nid, value.c_str()));
  return extension != nullptr && X509_add_ext(certificate, extension.get(), -1) == 1;
}

bool SetNames(X509* certificate, const std::string& common_name) {
  uint64_t serial = 0;
  if (RAND_bytes(reinterpret_cast<unsigned char*>(&serial), sizeof serial) != 1) return false;
  ASN1_INTEGER_set_uint64(X509_get_serialNumber(certificate), serial >> 1);
  X509_set_version(certificate, 2);
  return X509_NAME_add_entry_by_txt(X509_get_subject_name(certificate), "CN", MBSTRING_UTF8,
                                    reinterpret_cast<const unsigned char*>(common_name.c_str()), -1, -1, 0) == 1;
}

void SetTimes(X509* certificate, WallTime now) {
  const time_t at = std::chrono::system_clock::to_time_t(now);
  time_t from = at - kSkew, to = at + kValid;
  X509_time_adj(X509_getm_notBefore(certificate), 0, &from);
  X509_time_adj(X509_getm_notAfter(certificate), 0, &to);
}

std::string AltNames(const std::vector<std::string>& dns_names) {
  std::string out;
  for (const std::string& name : dns_names) StrAppend(&out, out.empty() ? "" : ",", "DNS:", name);
  return out;
}

struct Pair {
  Key key;
  Certificate certificate;
};

// Signed by `ca`, or by itself if that is null.
absl::StatusOr<Pair> Make(const std::string& common_name, const std::vector<std::string>& dns_names, WallTime now,
                          const Pair* ca) {
  Pair made{Key(EVP_EC_gen("P-256")), Certificate(X509_new())};
  if (made.key == nullptr || made.certificate == nullptr) return OpenSslError("key");
  X509* cert = made.certificate.get();
  X509* issuer = ca == nullptr ? cert : ca->certificate.get();
  if (!SetNames(cert, common_name)) return OpenSslError("name");
  SetTimes(cert, now);
  X509_set_pubkey(cert, made.key.get());
  X509_set_issuer_name(cert, X509_get_subject_name(issuer));
  bool good = AddExtension(cert, issuer, NID_subject_key_identifier, "hash");
  if (ca == nullptr) {
    good = good && AddExtension(cert, issuer, NID_basic_constraints, "critical,CA:TRUE,pathlen:0") &&
           AddExtension(cert, issuer, NID_key_usage, "critical,keyCertSign");
  } else {
    good = good && AddExtension(cert, issuer, NID_basic_constraints, "critical,CA:FALSE") &&
           AddExtension(cert, issuer, NID_key_usage, "critical,digitalSignature") &&
           AddExtension(cert, issuer, NID_ext_key_usage, "serverAuth,clientAuth") &&
           AddExtension(cert, issuer, NID_authority_key_identifier, "keyid:always") &&  // which of two CAs it was
           AddExtension(cert, issuer, NID_subject_alt_name, AltNames(dns_names));
  }
  if (!good || X509_sign(cert, ca == nullptr ? made.key.get() : ca->key.get(), EVP_sha256()) == 0)
    return OpenSslError("signature");
  return made;
}

}  // namespace

absl::StatusOr<render::PeerCertificates> MakePeerCertificates(const std::vector<std::string>& dns_names, WallTime now,
                                                              const std::string& old_ca) {
  PATELLA_ASSIGN_OR_RETURN(const Pair ca, Make("patella peers", {}, now, nullptr));
  PATELLA_ASSIGN_OR_RETURN(const Pair leaf, Make("patella sidecar", dns_names, now, &ca));
  render::PeerCertificates out{PemOf(ca.certificate.get()), PemOf(leaf.certificate.get()), PemOf(leaf.key.get())};
  if (const Certificate old = FirstOf(old_ca); old != nullptr) out.ca += PemOf(old.get());
  return out;
}

bool NeedsRenewal(const render::PeerCertificates& in_use, const std::vector<std::string>& dns_names, WallTime now) {
  const Certificate certificate = FirstOf(in_use.certificate), ca = FirstOf(in_use.ca);
  if (certificate == nullptr || ca == nullptr || !BelongTogether(certificate.get(), ca.get(), in_use.key)) return true;
  for (const std::string& name : dns_names) {
    // A wildcard is asked for by a name that it covers.
    const std::string host = name.starts_with("*.") ? "pod" + name.substr(1) : name;
    if (X509_check_host(certificate.get(), host.c_str(), host.size(), 0, nullptr) != 1) return true;
  }
  time_t soon = std::chrono::system_clock::to_time_t(now) + kRenewAt;
  return X509_cmp_time(X509_get0_notAfter(certificate.get()), &soon) <= 0;
}

std::string SecretValue(std::string_view secret_json, const char* key) {
  const nlohmann::json secret = nlohmann::json::parse(secret_json, nullptr, /*allow_exceptions=*/false);
  if (!secret.is_object() || !secret.contains("data") || !secret["data"].is_object()) return "";
  const nlohmann::json value = secret["data"].value(key, nlohmann::json());
  std::string out;
  if (!value.is_string() || !absl::Base64Unescape(value.get<std::string>(), &out)) return "";
  return out;
}

}  // namespace patella::apply
