#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <system_error>

#include "base/address.h"
#include "base/descriptor.h"
#include "base/result.h"
#include "base/time.h"
#include "net/io_context.h"
#include "net/udp_socket.h"
#include "wire/datagram_frame.h"

namespace openp2p::net {

/// What a FramedStream tells its owner. A handler may call close() and send() on the stream, and
/// must not destroy it from inside.
class FramedHandler {
 public:
  virtual ~FramedHandler() = default;
  /// Of a connection that connect() began: it is there.
  virtual void on_connected(TimePoint now) = 0;
  /// Datagrams that came; in UdpBuffers or the stream: gone when the handler returns.
  virtual void on_train(const DatagramTrain& train, TimePoint now) = 0;
  /// It ended, or never came to be; told once, unless the owner closed it. A system error, of those
  /// that connect() and read() have (std::errc::connection_refused, timed_out ..), broken_pipe or
  /// connection_reset if the other side ended it, or WireError::kTooLong if that broke the framing.
  virtual void on_closed(std::error_code why, TimePoint now) = 0;
};

/// A TCP connection that carries datagrams, each behind its length (RFC 4571).
///
/// Datagrams may be lost here as on any link, and have to be: TCP would let them wait for seconds
/// behind each other, and whoever measures round trips through it (QUIC) would see a path that only
/// grows longer. So when what waits in the kernel would take longer than kQueueDelayMax to leave,
/// further datagrams are dropped and counted. Only whole frames are written: the end of one that
/// the kernel took in part is kept here and follows first.
///
/// The hot path, per 64 KiB: one recv(), and one move of each datagram to its neighbour; one ioctl,
/// one copy and one send() out. No allocation for datagrams of an ordinary size. What the other
/// side can make this side hold is one frame, and the kernel's receive buffer.
/// Threading: the loop's thread.
class FramedStream {
 public:
  static constexpr Duration kQueueDelayMax = std::chrono::milliseconds(50);
  /// The queue's limit where the rate is low or not known yet: the longest frame always fits. At
  /// 10 Mbit/s it is 50 ms.
  static constexpr std::size_t kQueueBytesMin = kDatagramFrameHeaderBytes + kFramedDatagramBytesMax;
  /// Whatever the rate: 50 ms at 1.3 Gbit/s. More would only fill the kernel's memory.
  static constexpr std::size_t kQueueBytesMax = 8 << 20;

  struct Counters {
    std::uint64_t bytes_received = 0;
    std::uint64_t bytes_sent = 0;
    std::uint64_t bytes_dropped = 0;  ///< Of datagrams, when the queue was full.
  };
  struct Config {
    IoContext& io;
    UdpBuffers& buffers;
    FramedHandler& handler;
    std::size_t datagram_bytes_max = kFramedDatagramBytesMax;
  };

  /// Begins to connect to `remote`, from `local_port` unless that is 0, and from the address
  /// `source` if it is given and is one. The port may be shared with
  /// a listener of this program (TcpListener) and with other connections, and the other side may
  /// do the same towards this one: both ends of such a simultaneous open (RFC 9293 section 3.5)
  /// hear on_connected(). After `timeout` on_closed(timed_out). Errors are the system's, when it
  /// has no socket or not that port: about the way to `remote`, on_closed() tells.
  static Result<std::unique_ptr<FramedStream>> connect(const Config& config, const Address& remote,
                                                       std::uint16_t local_port, Duration timeout,
                                                       std::optional<IpAddress> source = {});
  /// Wraps a connected socket.
  static std::unique_ptr<FramedStream> adopt(const Config& config, Descriptor socket);
  ~FramedStream();
  FramedStream(const FramedStream&) = delete;
  FramedStream& operator=(const FramedStream&) = delete;

  /// Sends what the queue has room for and drops the rest; all of it, unless it is connected.
  void send(DatagramTrain train, TimePoint now);
  /// At once; what the kernel took is still delivered. Idempotent, and calls nobody.
  void close();
  bool is_connected() const;
  const Address& local_address() const;  ///< Unspecified until connected.
  const Address& remote_address() const;
  const Counters& counters() const;

 private:
  struct State;
  explicit FramedStream(std::unique_ptr<State> state);
  std::unique_ptr<State> state_;
};

}  // namespace openp2p::net
