#pragma once

#include <functional>
#include <map>
#include <optional>
#include <unordered_map>

#include "base/address.h"
#include "base/bytes.h"
#include "base/time.h"

namespace openp2p::server {

/// Opens a TCP connection from elsewhere; nullopt: cannot.
using OpenCall = std::function<std::optional<SocketId>(const Address& to, const IpAddress& from,
                                                       Duration timeout)>;

/// TCP connections that this server opens so that a client learns whom its NAT or firewall lets in:
/// the client asked for it over a connection of its own, and is called at the very address that
/// this connection came from, from a port (and maybe an address) that it never sent to.
///
/// No reflection: who is called has just shown, by TCP's handshake, that it receives what is sent
/// there. It costs the world kSynsMax packets to an address that sent more, for one request, of
/// which the STUN service takes SourceLimit's number; calls at one time are bounded, in all and for
/// an address. Over the call goes one answer, which carries the request's transaction id, and
/// nothing that comes over it is read. Sans-I/O. Threading: one owner.
class CallBacks {
 public:
  static constexpr std::size_t kCallsMax = 64;
  static constexpr std::size_t kCallsPerAddressMax = 4;  ///< IPv6: of a /64.
  /// A SYN and its copy after a second: a lost one shall not look like a filter.
  static constexpr Duration kPatience = std::chrono::milliseconds(1'800);
  static constexpr unsigned kSynsMax = 2;
  static constexpr Duration kLinger = std::chrono::seconds(2);  ///< For the answer to arrive.

  struct Request {
    SocketId asked_over;
    Address to;
    IpAddress from;
    Bytes answer;   ///< To be said over the call.
    Bytes failure;  ///< To be said over `asked_over` if the call does not come to be.
  };
  struct Say {
    SocketId over;
    Address to;
    Bytes bytes;
  };

  /// `open` may be empty: then nobody is called. `close` as SocketSource::close().
  CallBacks(OpenCall open, std::function<void(SocketId)> close)
      : open_(std::move(open)), close_(std::move(close)) {}

  bool can_call() const { return open_ != nullptr; }
  /// False: there is no room.
  bool call(Request request, TimePoint now);
  bool owns(SocketId socket) const { return calls_.contains(socket); }
  std::size_t size() const { return calls_.size(); }

  /// Of a socket that owns() says is one of these; what is to be said then.
  Say on_connected(SocketId socket, TimePoint now);
  std::optional<Say> on_disconnected(SocketId socket);
  void on_timeout(TimePoint now);
  std::optional<TimePoint> next_timeout() const;

 private:
  struct Call {
    Request request;
    std::optional<TimePoint> closes_at;  ///< Said its answer.
  };
  void forget(std::unordered_map<SocketId, Call>::iterator call);

  OpenCall open_;
  std::function<void(SocketId)> close_;
  std::unordered_map<SocketId, Call> calls_;
  std::map<IpAddress, std::size_t> per_prefix_;
};

}  // namespace openp2p::server
