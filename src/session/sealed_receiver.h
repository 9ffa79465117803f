#pragma once

#include <memory>

#include "base/replay_window.h"
#include "session/sealed_keys.h"

namespace openp2p::session {

/// Opens the datagrams of one use in one direction, each once. Sans-I/O. Threading: one owner.
///
/// It follows the sender from epoch to epoch, and keeps the epoch before a little longer for what
/// was overtaken. The next key is made beforehand, so that a forged epoch costs no more than any
/// forged datagram. Only where all datagrams of a whole epoch were lost is it sought further ahead,
/// at most every kFarGap. Nothing that is not authentic changes anything but counters.
///
/// Hot path, per datagram: one AEAD, from the datagram into `out`; allocates once an epoch.
class SealedReceiver {
 public:
  /// How far datagrams may overtake each other: 80 ms at 1 Gbit/s of full-size ones, which is what
  /// two paths may differ by around a switch.
  static constexpr std::uint64_t kWindow = 8'192;
  /// How long the epoch before is kept: reordering does not outlast it on any path in use.
  static constexpr Duration kPreviousKept = std::chrono::seconds(10);
  /// A search ahead costs up to 62 derivations, about 0.2 ms; forgers get no more than ten a
  /// second.
  static constexpr Duration kFarGap = std::chrono::milliseconds(100);

  enum class Verdict {
    kOpened,
    kMalformed,  ///< Too short, or not of this form.
    kReplayed,   ///< Its number was seen, or is older than the window.
    kStale,      ///< Of an epoch that is over, or not looked for now.
    kForged,     ///< Not authentic.
  };

  explicit SealedReceiver(const SealedRatchet& ratchet, const SealedLimits& limits = {});

  /// Needs out.size() + kSealedOverhead == datagram.size(), for a datagram at least that long.
  /// `out` holds the payload only after kOpened.
  Verdict open(ByteView datagram, MutableByteView out, TimePoint now);

  std::uint64_t epoch() const { return current_->number; }
  const SealedArrivals& arrivals() const { return arrivals_; }

 private:
  struct Epoch {
    explicit Epoch(const SealedRatchet& ratchet)
        : number(ratchet.epoch()), key(ratchet.make_key()) {}
    std::uint64_t number;
    std::unique_ptr<SealedKey> key;
    std::uint64_t forged = 0;
    std::uint64_t counted = 0;  ///< Counters below this are in arrivals_.
    ReplayWindow<kWindow> seen;
  };

  Verdict open_with(Epoch& epoch, const SealedHeader& header, ByteView datagram,
                    MutableByteView out);
  Verdict open_far(std::uint64_t ahead, const SealedHeader& header, ByteView datagram,
                   MutableByteView out, TimePoint now);
  void step(TimePoint now);
  void prepare_next();

  const SealedLimits limits_;
  SealedRatchet ratchet_;  ///< At the epoch of next_.
  std::unique_ptr<Epoch> previous_;
  std::unique_ptr<Epoch> current_;
  std::unique_ptr<Epoch> next_;
  TimePoint previous_until_;
  SealedArrivals arrivals_;
  TimePoint far_at_;  ///< Not before is there another search ahead.
};

}  // namespace openp2p::session
