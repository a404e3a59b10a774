// Starts the parts of the page; each knows one section.

import { startBeam } from './beam.js';
import { startChat } from './chat.js';
import { startClock } from './clock.js';
import { startRooms } from './rooms.js';
import { startVisits } from './visits.js';
import { startWork } from './work.js';

startBeam();
startChat();
startRooms();
startVisits();
startClock();
startWork();
