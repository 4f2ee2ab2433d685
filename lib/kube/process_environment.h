// Internal to the transport: the environment variables that it changes.
#pragma once

namespace patella::kube {

// OpenSSL's default verify paths lead nowhere from here on, and cpprestsdk's load of the system bundle (20 ms and 0.8
// MB a connection) finds nothing. Not thread-safe against getenv: call early. EnvironmentForChild undoes it for
// children.
void HideSystemCas();

}  // namespace patella::kube
