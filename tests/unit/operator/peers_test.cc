#include "operator/apply/peers.h"

#include <gtest/gtest.h>
#include <openssl/pem.h>
#include <openssl/x509.h>

#include <memory>
#include <nlohmann/json.hpp>

#include "absl/strings/escaping.h"

namespace patella::apply {
namespace {

const std::vector<std::string> kNames = {"m-pods.ns.svc", "*.m-pods.ns.svc"};
const WallTime kNow = WallTime(std::chrono::hours(24 * 365 * 50));
constexpr auto kDay = std::chrono::hours(24);

// As a peer would: against the CAs of ca.crt.
bool Verifies(const std::string& ca, const std::string& leaf) {
  const std::unique_ptr<X509_STORE, decltype(&X509_STORE_free)> store(X509_STORE_new(), X509_STORE_free);
  BIO* bio = BIO_new_mem_buf(ca.data(), static_cast<int>(ca.size()));
  while (X509* one = PEM_read_bio_X509(bio, nullptr, nullptr, nullptr)) {
    X509_STORE_add_cert(store.get(), one);
    X509_free(one);
  }
  BIO_free(bio);
  bio = BIO_new_mem_buf(leaf.data(), static_cast<int>(leaf.size()));
  X509* certificate = PEM_read_bio_X509(bio, nullptr, nullptr, nullptr);
  BIO_free(bio);
  X509_STORE_CTX* context = X509_STORE_CTX_new();
  X509_STORE_CTX_init(context, store.get(), certificate, nullptr);
  X509_STORE_CTX_set_time(context, 0, std::chrono::system_clock::to_time_t(kNow));
  const bool good = X509_verify_cert(context) == 1;
  X509_STORE_CTX_free(context);
  X509_free(certificate);
  return good;
}

TEST(PeersTest, ALeafIsTrustedByItsOwnCaAlone) {
  const auto a = MakePeerCertificates(kNames, kNow), b = MakePeerCertificates(kNames, kNow);
  ASSERT_TRUE(a.ok() && b.ok()) << a.status() << b.status();
  EXPECT_TRUE(Verifies(a->ca, a->certificate));
  EXPECT_FALSE(Verifies(a->ca, b->certificate));
  EXPECT_NE(a->key.find("PRIVATE KEY"), std::string::npos);
}

TEST(PeersTest, AfterARenewalOldAndNewTrustEachOther) {
  const auto old = MakePeerCertificates(kNames, kNow);
  ASSERT_TRUE(old.ok());
  const auto renewed = MakePeerCertificates(kNames, kNow, old->ca);
  ASSERT_TRUE(renewed.ok());
  EXPECT_TRUE(Verifies(renewed->ca, renewed->certificate));
  EXPECT_TRUE(Verifies(renewed->ca, old->certificate));
  const auto again = MakePeerCertificates(kNames, kNow, renewed->ca);
  ASSERT_TRUE(again.ok());
  EXPECT_FALSE(Verifies(again->ca, old->certificate));  // two generations are enough
}

TEST(PeersTest, IsRenewedWithAThirdOfItsTimeLeftOrForOtherNames) {
  const auto made = MakePeerCertificates(kNames, kNow);
  ASSERT_TRUE(made.ok());
  EXPECT_FALSE(NeedsRenewal(*made, kNames, kNow));
  EXPECT_FALSE(NeedsRenewal(*made, kNames, kNow + 59 * kDay));
  EXPECT_TRUE(NeedsRenewal(*made, kNames, kNow + 61 * kDay));
  EXPECT_TRUE(NeedsRenewal(*made, {"other.ns.svc"}, kNow));
  const auto renewed = MakePeerCertificates(kNames, kNow, made->ca);
  ASSERT_TRUE(renewed.ok());
  EXPECT_FALSE(NeedsRenewal(*renewed, kNames, kNow)) << "two CAs, of which the first signed";
}

TEST(PeersTest, IsRenewedIfAPartOfItWasChanged) {
  const auto made = MakePeerCertificates(kNames, kNow), other = MakePeerCertificates(kNames, kNow);
  ASSERT_TRUE(made.ok() && other.ok());
  for (std::string render::PeerCertificates::*part :
       {&render::PeerCertificates::ca, &render::PeerCertificates::certificate, &render::PeerCertificates::key}) {
    for (const std::string& value : {std::string(), std::string("garbage"), (*other).*part}) {
      render::PeerCertificates changed = *made;
      changed.*part = value;
      EXPECT_TRUE(NeedsRenewal(changed, kNames, kNow)) << value;
    }
  }
}

TEST(PeersTest, ASecretsDataIsDecoded) {
  nlohmann::json secret;
  secret["data"]["tls.crt"] = absl::Base64Escape("hello");
  EXPECT_EQ(SecretValue(secret.dump(), "tls.crt"), "hello");
  EXPECT_EQ(SecretValue(secret.dump(), "ca.crt"), "");
  EXPECT_EQ(SecretValue("{", "ca.crt"), "");
}

}  // namespace
}  // namespace patella::apply
