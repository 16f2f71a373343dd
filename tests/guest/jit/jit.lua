-- SPDX-License-Identifier: Apache-2.0
-- What LuaJIT compiles must give what its interpreter gives: run with -joff and with -O3, both outputs are compared.
local ffi, bit = require("ffi"), require("bit")
ffi.cdef [[ int qsort_r; void qsort(void *base, size_t n, size_t size, int (*cmp)(const int *, const int *)); ]]

local function sieve(n)
	local composite, count = {}, 0
	for i = 2, n do
		if not composite[i] then
			count = count + 1
			for k = i * i, n, i do composite[k] = true end
		end
	end
	return count
end

local function bodies(steps)
	local x, y, vx, vy = 1.0, 0.0, 0.0, 1.0
	for _ = 1, steps do
		local r = math.sqrt(x * x + y * y)
		local a = -1 / (r * r * r)
		vx, vy = vx + a * x * 1e-3, vy + a * y * 1e-3
		x, y = x + vx * 1e-3, y + vy * 1e-3
	end
	return string.format("%.15g %.15g", x, y)
end

local function hash(n)
	local h = 0x811c9dc5
	for i = 1, n do
		h = bit.bxor(h, bit.band(i * 31, 255))
		h = bit.tobit(h * 403)
		h = bit.rol(h, 5)
	end
	return bit.tohex(h)
end

local function words(n)
	local t = {}
	for i = 1, n do t[#t + 1] = ("%d:%s"):format(i, ("x"):rep(i % 7)) end
	return #table.concat(t, ","):gsub("x+", string.upper)
end

-- Code made at run time, again and again: traces are flushed, their memory is written and executed anew.
local function evolve(n)
	local sum = 0
	for i = 1, n do
		local f = loadstring(("return function(a) local s = %d for k = 1, 200 do s = s + k * a %% %d end return s end"):format(i, i % 13 + 1))()
		sum = sum + f(i)
		if i % 20 == 0 and jit.status() then jit.flush() end
	end
	return sum
end

local function sorted(n)
	local a = ffi.new("int[?]", n)
	local seed = 1
	for i = 0, n - 1 do
		seed = (seed * 1103515245 + 12345) % 2147483648
		a[i] = seed
	end
	local cmp = ffi.cast("int (*)(const int *, const int *)", function(x, y) return x[0] < y[0] and -1 or x[0] > y[0] and 1 or 0 end)
	ffi.C.qsort(a, n, 4, cmp)
	cmp:free()
	for i = 1, n - 1 do assert(a[i - 1] <= a[i]) end
	return a[0] .. " " .. a[n - 1]
end

local function coroutines(n)
	local sum = 0
	for i = 1, n do
		local co = coroutine.wrap(function(k) for j = 1, 10 do k = k + coroutine.yield(k * j) end return k end)
		local v = co(i)
		for j = 1, 9 do v = co(j) end
		sum = (sum + v) % 1000003
	end
	return sum
end

local scale = tonumber(arg[1]) or 1
print("sieve", sieve(20000 * scale))
print("bodies", bodies(20000 * scale))
print("hash", hash(100000 * scale))
print("words", words(2000 * scale))
print("evolve", evolve(200 * scale))
print("sorted", sorted(1000 * scale))
print("coroutines", coroutines(500 * scale))
