#pragma once

#include <boost/system/result.hpp>
#include <string>
#include <system_error>

namespace openp2p {

/// A value, or why there is none. What a peer, the network, the disk or a user can cause is one of
/// these, never an exception. (std::expected comes with C++23, and changes this one file.)
template <class T>
class [[nodiscard]] Result : public boost::system::result<T, std::error_code> {
  using Base = boost::system::result<T, std::error_code>;

 public:
  using Base::Base;
};

using Status = Result<void>;

/// Makes an error category out of a name and a function that words each value; each capability has
/// one enum, one such function and one object of this type inside its make_error_code().
template <class Enum>
class ErrorCategory final : public std::error_category {
 public:
  using Words = const char* (*)(Enum);
  ErrorCategory(const char* name, Words words) : name_(name), words_(words) {}
  const char* name() const noexcept override { return name_; }
  std::string message(int value) const override { return words_(static_cast<Enum>(value)); }

 private:
  const char* name_;
  Words words_;
};

}  // namespace openp2p
