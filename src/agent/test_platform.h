#pragma once

#include "agent/platform.h"

namespace openp2p::agent {

/// A machine that has nothing: for tests of what never asks it.
class NoPlatform final : public Platform {
 public:
  Result<std::unique_ptr<Listener>> listen(const Address&,
                                           std::function<void(Stream, TimePoint)>) override {
    return std::make_error_code(std::errc::operation_not_supported);
  }
  std::unique_ptr<Pending> dial(const std::string&, std::uint16_t, Duration,
                                std::function<bool(const IpAddress&)>,
                                std::function<void(Result<Stream>, TimePoint)>) override {
    return nullptr;
  }
  Result<Datagrams> listen_datagrams(const Address&, forward::LocalDatagramsHandler&) override {
    return std::make_error_code(std::errc::operation_not_supported);
  }
  std::unique_ptr<Pending> dial_datagrams(
      const std::string&, std::uint16_t, Duration, std::function<bool(const IpAddress&)>,
      forward::LocalDatagramsHandler&, std::function<void(Result<Datagrams>, TimePoint)>) override {
    return nullptr;
  }
  std::unique_ptr<Pending> resolve(const std::string&,
                                   std::function<void(std::vector<Address>, TimePoint)>) override {
    return nullptr;
  }
  Result<std::unique_ptr<DatagramSocket>> open_datagrams(bool, OnDatagram) override {
    return std::make_error_code(std::errc::operation_not_supported);
  }
  Result<std::unique_ptr<ConnectionPort>> open_connections(bool,
                                                           path::ConnectionHandler&) override {
    return std::make_error_code(std::errc::operation_not_supported);
  }
  std::vector<IpAddress> local_addresses() const override { return {}; }
  std::vector<net::Gateway> gateways() const override { return {}; }
  Result<std::unique_ptr<DatagramSocket>> open_gateway_datagrams(const net::Gateway&,
                                                                 OnDatagram) override {
    return std::make_error_code(std::errc::operation_not_supported);
  }
  std::unique_ptr<Pending> hear_announcements(const net::Gateway&, OnDatagram) override {
    return nullptr;
  }
  std::unique_ptr<Pending> ask_gateway(
      net::GatewayRequest, std::function<void(const net::GatewayAnswer&, TimePoint)>) override {
    return nullptr;
  }
};

}  // namespace openp2p::agent
