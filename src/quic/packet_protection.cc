#include "quic/packet_protection.h"

#if defined(__aarch64__) && defined(__linux__)
#include <asm/hwcap.h>
#include <sys/auxv.h>
#endif

#include "quic/packet_protection_backends.h"

namespace openp2p::quic {

std::unique_ptr<PacketProtection> make_packet_protection(Backend choice) {
  switch (choice) {
    case Backend::kGnutls:
      return make_gnutls_protection();
    case Backend::kIpsecMb:
      return make_ipsec_mb_protection();
    case Backend::kAutomatic:
      break;
  }
  auto fastest = make_ipsec_mb_protection();
  return fastest ? std::move(fastest) : make_gnutls_protection();
}

bool has_aes_instructions() {
#if defined(__x86_64__)
  return __builtin_cpu_supports("aes") && __builtin_cpu_supports("pclmul");
#elif defined(__aarch64__) && defined(__linux__)
  return (getauxval(AT_HWCAP) & HWCAP_AES) != 0;
#else
  return false;  // Unknown: ChaCha20 is decent everywhere.
#endif
}

}  // namespace openp2p::quic
