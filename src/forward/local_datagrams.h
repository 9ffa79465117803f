#pragma once

#include <cstdint>
#include <system_error>

#include "base/address.h"
#include "base/bytes.h"
#include "base/time.h"
#include "wire/datagram_frame.h"

namespace openp2p::forward {

/// Both ends of what a local program sends: answers go back the same way.
struct LocalEnds {
  Address program;  ///< With its port, and an IPv6 address's scope.
  IpAddress own;    ///< The address it sent to; unspecified where the system does not tell.
  friend bool operator==(const LocalEnds&, const LocalEnds&) = default;
};

/// What a LocalDatagrams tells its owner. A handler must not destroy it.
class LocalDatagramsHandler {
 public:
  virtual ~LocalDatagramsHandler() = default;
  /// Datagrams of one sender that came together; an empty train is one empty datagram. Gone when
  /// the call returns.
  virtual void on_datagrams(const LocalEnds& from, const DatagramTrain& train, TimePoint now) = 0;
  /// Of a socket with one remote address: its network said that what was sent did not arrive
  /// (nobody listens, no route). Told once a batch at most, and not what was lost.
  virtual void on_failed(std::error_code error, TimePoint now) = 0;
};

/// A UDP socket on this machine, as a forward sees it: on a port that programs send to, or with the
/// one remote address of a destination.
///
/// Cost: datagrams are received in batches; those that are sent gather until flush(), one copy
/// each, and leave in one system call, those of equal size to one address as one segmented message.
/// What the kernel does not take is dropped and counted, as networks do. Threading: one owner, one
/// thread.
class LocalDatagrams {
 public:
  struct Counters {
    std::uint64_t dropped = 0;  ///< Not taken by the kernel: no room, no route, too large.
  };

  LocalDatagrams() = default;
  virtual ~LocalDatagrams() = default;
  LocalDatagrams(const LocalDatagrams&) = delete;
  LocalDatagrams& operator=(const LocalDatagrams&) = delete;

  /// `to` counts where there is no one remote address. At most kDatagramBytesMax bytes.
  virtual void send(const LocalEnds& to, ByteView datagram) = 0;
  virtual void flush(TimePoint now) = 0;
  virtual Address local_address() const = 0;  ///< With the real port.
  virtual const Counters& counters() const = 0;
};

}  // namespace openp2p::forward
